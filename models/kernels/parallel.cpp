#include "models/kernels/parallel.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <limits>

namespace concertina {

namespace {

// libgomp is not built for the thread sanitizer, which takes its barriers for races.
#ifdef __SANITIZE_THREAD__
constexpr int kThreadsMax = 1;
#else
constexpr int kThreadsMax = std::numeric_limits<int>::max();
#endif

}  // namespace

void SetThreads(int threads) { at::set_num_threads(std::clamp(threads, 1, kThreadsMax)); }

int Threads() { return at::get_num_threads(); }

void ParallelFor(int64_t begin, int64_t end, int64_t grain,
                 absl::FunctionRef<void(int64_t, int64_t)> body) {
  at::parallel_for(begin, end, grain, body);
}

void ParallelTasks(int64_t tasks, absl::FunctionRef<void(int worker, int64_t task)> body) {
  std::atomic<int64_t> next{0};
  const int64_t workers = std::min<int64_t>(Threads(), tasks);
  ParallelFor(0, workers, 1, [&](int64_t worker, int64_t) {
    for (int64_t task = next++; task < tasks; task = next++) {
      body(static_cast<int>(worker), task);
    }
  });
}

}  // namespace concertina
