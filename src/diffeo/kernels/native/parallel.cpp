#include "parallel.h"

#include <torch/csrc/stable/c/shim.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace diffeo {
namespace {

// A thread that waits looks again and again for so long, then sleeps. Waking up takes some ten
// microseconds; looking on takes the processor from a program that has work for it, or from the
// thread that is waited for.
constexpr auto PATIENCE = std::chrono::microseconds(50);

template <class Ready> void look(const Ready& ready) {
  const auto end = std::chrono::steady_clock::now() + PATIENCE;
  while (!ready() && std::chrono::steady_clock::now() < end) {
#if defined(__x86_64__)
    _mm_pause();
#endif
  }
}

std::atomic<int64_t> limit{1 << 10};

struct Job {
  void (*call)(int64_t, const void*);
  const void* work;
  int64_t parts, seats;          // how many more threads may join, under the lock
  std::atomic<int64_t> next{0};  // part
  std::atomic<int64_t> others{0};
  std::exception_ptr error{};
  std::mutex failing{};

  void run() {
    try {
      for (int64_t part; (part = next.fetch_add(1, std::memory_order_relaxed)) < parts;)
        call(part, work);
    } catch (...) {
      const std::lock_guard lock(failing);
      if (!error) error = std::current_exception();
      next = parts;
    }
  }
};

// Threads that help whoever has work to share. Nobody waits for one that has not begun: it may be
// long before another program lets it, and meanwhile its parts are done.
class Helpers {
 public:
  void help(Job& job) {
    {
      const std::lock_guard lock(mutex);
      grow(job.seats);
      jobs.push_back(&job);
      seats += job.seats;
    }
    for (int64_t i = 0; i < job.seats; ++i) wanted.notify_one();
    job.run();
    std::unique_lock lock(mutex);
    jobs.erase(std::find(jobs.begin(), jobs.end(), &job));
    seats -= job.seats;
    lock.unlock();
    look([&] { return job.others.load(std::memory_order_acquire) == 0; });
    lock.lock();
    finished.wait(lock, [&] { return job.others.load(std::memory_order_acquire) == 0; });
  }

 private:
  std::mutex mutex;
  std::condition_variable wanted, finished;
  std::vector<Job*> jobs;
  std::atomic<int64_t> seats{0};  // of all jobs
  int64_t threads = 0;

  void grow(int64_t count) {
    try {
      for (; threads < count; ++threads) std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {  // the system gives no more
    }
  }

  void serve() {
    std::unique_lock lock(mutex);
    while (true) {
      lock.unlock();
      look([&] { return seats.load(std::memory_order_relaxed) > 0; });
      lock.lock();
      wanted.wait(lock, [&] { return seats.load(std::memory_order_relaxed) > 0; });
      Job& job =
          **std::find_if(jobs.begin(), jobs.end(), [](const Job* job) { return job->seats > 0; });
      --job.seats, --seats, ++job.others;
      lock.unlock();
      job.run();
      const bool last = job.others.fetch_sub(1, std::memory_order_acq_rel) ==
                        1;  // the job may be gone from here on
      lock.lock();
      if (last) finished.notify_all();
    }
  }
};

// Never destroyed: its threads run until the process ends. A forked process has none of them, and
// begins anew.
Helpers* helpers() {
  static Helpers* all = [] {
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork(nullptr, nullptr, [] { all = new Helpers; });
#endif
    return new Helpers;
  }();
  return all;
}

}  // namespace

int64_t most_threads() {
  uint32_t wanted = 1;
  if (torch_get_num_threads(&wanted)) wanted = 1;
  int64_t count = std::min<int64_t>(wanted, limit);
#if defined(__linux__)
  cpu_set_t own;  // too small for a machine of more than 1,024 processors: then the call fails
  if (count > 1 && !sched_getaffinity(0, sizeof own, &own))
    count = std::min<int64_t>(count, CPU_COUNT(&own));
#endif
  return std::max<int64_t>(1, count);
}

void share(int64_t parts, void (*call)(int64_t part, const void* work), const void* work) {
  Job job{.call = call, .work = work, .parts = parts, .seats = std::min(parts, most_threads()) - 1};
  if (job.seats > 0) helpers()->help(job);
  else job.run();
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace diffeo

// Sets how many threads may share a piece of work at most.
extern "C" __attribute__((visibility("default"))) void diffeo_limit_threads(int64_t count) {
  diffeo::limit = count;
}
