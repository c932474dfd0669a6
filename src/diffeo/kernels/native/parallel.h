// PyTorch's own threads, and memory for what they do.
#pragma once

#include <torch/csrc/stable/c/shim.h>

#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>

namespace diffeo {

// Calls work(begin, end) for parts of what lies from 0 to `count`, at least `grain` at a time.
template <class Work> void parallel_for(int64_t count, int64_t grain, const Work& work) {
  auto call = [](int64_t begin, int64_t end, void* work) { (*static_cast<const Work*>(work))(begin, end); };
  if (torch_parallel_for(0, count, grain, call, const_cast<Work*>(&work)))
    throw std::runtime_error("diffeo: threads of PyTorch failed");
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
    numbers.reset(static_cast<T*>(std::aligned_alloc(line, (count * sizeof(T) + line - 1) / line * line)));
    if (!numbers) throw std::bad_alloc();
    size = count;
    return numbers.get();
  }
  T* get() const { return numbers.get(); }
};

// Memory of a thread that outlives the call: asking the system for it each time takes a tenth of a pass.
template <class T> T* thread_memory(int64_t count) {
  static thread_local Memory<T> memory;
  return memory.grow(count);
}

}  // namespace diffeo
