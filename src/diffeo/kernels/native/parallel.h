// Work shared among threads, and memory for what they do.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace diffeo {

// How many threads may share a piece of work: as many as PyTorch takes, but no more than there are
// processors for.
int64_t most_threads();

// Calls call(i, work) once for each i from 0 to `parts`; each thread takes the next part as soon as
// it is free. An exception of a part is thrown again here. Parts must not depend on who does them:
// the same bits for any number of threads.
void share(int64_t parts, void (*call)(int64_t part, const void* work), const void* work);

template <class Work> void share(int64_t parts, const Work& work) {
  share(
      parts, [](int64_t part, const void* work) { (*static_cast<const Work*>(work))(part); },
      &work);
}

// Calls work(begin, end) for parts of what lies from 0 to `count`, at least `grain` at a time: two
// parts for each thread, so that one which another program holds up leaves its second part to the
// others.
template <class Work> void parallel_for(int64_t count, int64_t grain, const Work& work) {
  const int64_t parts = std::min(count / std::max<int64_t>(1, grain), 2 * most_threads());
  if (parts <= 1) return count > 0 ? work(0, count) : void();
  share(parts, [&](int64_t part) { work(count * part / parts, count * (part + 1) / parts); });
}

// Numbers that begin where a vector may.
template <class T> struct Memory {
  std::unique_ptr<T[], decltype(&std::free)> numbers{nullptr, &std::free};
  int64_t size = 0;

  Memory() = default;
  explicit Memory(int64_t count) { grow(count); }
  T* grow(int64_t count) {
    if (size >= count) return numbers.get();
    constexpr size_t line = 64;
    size = 0;
    numbers.reset(
        static_cast<T*>(std::aligned_alloc(line, (count * sizeof(T) + line - 1) / line * line)));
    if (!numbers) throw std::bad_alloc();
    size = count;
    return numbers.get();
  }
  T* get() const { return numbers.get(); }
};

// Memory of a thread that outlives the call: asking the system for it each time takes a tenth of a
// pass.
template <class T> T* thread_memory(int64_t count) {
  static thread_local Memory<T> memory;
  return memory.grow(count);
}

}  // namespace diffeo
