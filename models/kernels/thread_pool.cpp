#include "models/kernels/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <limits>

// OpenMP's own header is GCC's alone; these two are all that is needed of it.
extern "C" {
int omp_get_max_threads();
void omp_set_num_threads(int threads);
}

namespace concertina {
namespace {

using Clock = std::chrono::steady_clock;

// Longer than what lies between two loops of a step, shorter than a time slice of the system's.
constexpr std::chrono::microseconds kSpin{200};
// Then others may have the core, in case what is waited for needs it.
constexpr std::chrono::microseconds kPolite{10};
constexpr int kPausesPerLook = 32;

void Pause() { __builtin_ia32_pause(); }

// Waits until `ready()`, at most for `limit`; gives the core away between looks after a moment.
template <typename Ready>
bool SpinUntil(Ready ready, Clock::duration limit) {
  const auto begin = Clock::now();
  while (true) {
    for (int i = 0; i < kPausesPerLook; ++i) {
      if (ready()) return true;
      Pause();
    }
    const auto spun = Clock::now() - begin;
    if (spun >= limit) return false;
    if (spun >= kPolite) std::this_thread::yield();
  }
}

// Above every end of a share.
constexpr uint32_t kClosed = std::numeric_limits<uint32_t>::max();

uint64_t Ticket(uint32_t job, uint32_t task) { return uint64_t{job} << 32 | task; }

// LibTorch's operators inside a loop must not start threads of their own.
class WithoutOpenMp {
 public:
  WithoutOpenMp() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~WithoutOpenMp() { omp_set_num_threads(before_); }
  WithoutOpenMp(const WithoutOpenMp&) = delete;
  WithoutOpenMp& operator=(const WithoutOpenMp&) = delete;

 private:
  int before_;
};

}  // namespace

ThreadPool::ThreadPool(int threads) : lanes_(static_cast<size_t>(std::max(threads, 1))) {
  for (int worker = 1; worker < this->threads(); ++worker) {
    workers_.emplace_back([this, worker] { Serve(worker); });
  }
}

ThreadPool::~ThreadPool() {
  closing_ = true;
  job_.fetch_add(1);
  job_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Run(int64_t tasks, Order order, Body body) {
  if (tasks <= 0) return;
  if (tasks == 1 || tasks >= kClosed || workers_.empty() || taken_.exchange(true)) {
    for (int64_t task = 0; task < tasks; ++task) body(0, task);
    return;
  }
  const WithoutOpenMp alone;
  Publish(static_cast<uint32_t>(tasks), order, body);
  Work(0, job_.load(std::memory_order_relaxed));
  while (!SpinUntil([&] { return done_.load(std::memory_order_acquire) == tasks; }, kSpin)) {
  }
  taken_.store(false, std::memory_order_release);
}

void ThreadPool::Publish(uint32_t tasks, Order order, const Body& body) {
  const uint32_t job = job_.load(std::memory_order_relaxed) + 1;
  const int used = order == Order::kShares ? threads() : 1;
  done_.store(0, std::memory_order_relaxed);
  body_.store(&body, std::memory_order_relaxed);
  lanes_used_.store(used, std::memory_order_relaxed);
  for (int i = 0; i < used; ++i) {
    const auto at = [&](int lane) { return static_cast<uint32_t>(int64_t{tasks} * lane / used); };
    // Closed before it is filled anew: a worker that is late would take the new end for the old
    // job's.
    lanes_[i].next.store(Ticket(job, kClosed), std::memory_order_relaxed);
    lanes_[i].end.store(at(i + 1), std::memory_order_release);
    lanes_[i].next.store(Ticket(job, at(i)), std::memory_order_release);
  }
  job_.store(job);
  job_.notify_all();
}

void ThreadPool::Work(int worker, uint32_t job) {
  const int used = lanes_used_.load(std::memory_order_relaxed);
  for (int i = 0; i < used; ++i) Drain(lanes_[(worker + i) % used], worker, job);
}

void ThreadPool::Drain(Lane& lane, int worker, uint32_t job) {
  int64_t done = 0;
  uint64_t next = lane.next.load(std::memory_order_acquire);
  while (next >> 32 == job && static_cast<uint32_t>(next) < lane.end.load()) {
    // Success also says that the job is still on: the caller waits for this task.
    if (!lane.next.compare_exchange_weak(next, next + 1)) continue;
    (*body_.load(std::memory_order_relaxed))(worker, static_cast<uint32_t>(next));
    ++done;
    ++next;
  }
  if (done > 0) done_.fetch_add(done, std::memory_order_release);
}

void ThreadPool::Serve(int worker) {
  omp_set_num_threads(1);
  uint32_t job = 0;
  while (WaitForJob(&job)) Work(worker, job);
}

bool ThreadPool::WaitForJob(uint32_t* job) {
  const auto changed = [&] { return job_.load(std::memory_order_acquire) != *job; };
  if (!SpinUntil(changed, kSpin)) job_.wait(*job);
  *job = job_.load(std::memory_order_acquire);
  return !closing_.load();
}

}  // namespace concertina
