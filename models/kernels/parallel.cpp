#include "models/kernels/parallel.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <memory>
#include <thread>

#include "models/kernels/thread_pool.h"

namespace concertina {
namespace {

// More parts than threads: what one of them does not get to, because the system runs something else
// on its core, another one takes over.
constexpr int64_t kPartsPerThread = 4;

// libgomp is not built for the thread sanitizer, which takes its barriers for races.
#ifdef __SANITIZE_THREAD__
constexpr int kOpenMpThreadsMax = 1;
#else
constexpr int kOpenMpThreadsMax = 1024;
#endif

std::unique_ptr<ThreadPool>& Pool() {
  static auto* const kPool =
      new auto(std::make_unique<ThreadPool>(static_cast<int>(std::thread::hardware_concurrency())));
  return *kPool;  // never destroyed: kernels may run in destructors of other globals
}

}  // namespace

void SetThreads(int threads) {
  threads = std::max(threads, 1);
  at::set_num_threads(std::min(threads, kOpenMpThreadsMax));
  if (threads != Threads()) Pool() = std::make_unique<ThreadPool>(threads);
}

int Threads() { return Pool()->threads(); }

void ParallelFor(int64_t begin, int64_t end, int64_t grain,
                 absl::FunctionRef<void(int64_t, int64_t)> body) {
  const int64_t count = end - begin;
  if (count <= 0) return;
  ThreadPool& pool = *Pool();
  const int64_t threads = pool.threads();
  const int64_t grains = (count - 1) / std::max<int64_t>(grain, 1) + 1;
  // As many for every thread.
  const int64_t parts =
      grains <= threads ? grains : std::min(grains / threads, kPartsPerThread) * threads;
  pool.Run(parts, ThreadPool::Order::kShares, [&](int, int64_t part) {
    body(begin + count * part / parts, begin + count * (part + 1) / parts);
  });
}

void ParallelTasks(int64_t tasks, absl::FunctionRef<void(int worker, int64_t task)> body) {
  Pool()->Run(tasks, ThreadPool::Order::kAscending, body);
}

}  // namespace concertina
