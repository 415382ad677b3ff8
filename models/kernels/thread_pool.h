#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"

namespace concertina {

// Threads for loops that last microseconds. Handing one out and coming back costs about a
// microsecond while the threads are awake: they spin for kSpin after the last loop and then sleep,
// so that an idle process uses no CPU. The caller works too, and waits only for tasks that a thread
// has begun: one that the system does not run holds nothing up.
class ThreadPool {
 public:
  using Body = absl::FunctionRef<void(int worker, int64_t task)>;

  enum class Order {
    // Every worker begins at a share of its own, always the same one, and helps the others
    // afterwards.
    kShares,
    // Ascending order of start.
    kAscending,
  };

  // `threads`, at least 1, with the caller.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(lanes_.size()); }

  // Calls `body` once for every task in [0, tasks) and returns when all are done; worker <
  // threads(), and the caller's is 0. Thread-safe: while one caller has the threads, another one
  // (or a body) works through its tasks alone. `body` must not throw.
  void Run(int64_t tasks, Order order, Body body);

 private:
  // The next task of a share, below `end`. Job and task in one word: a worker that comes late finds
  // another job's number and leaves.
  struct alignas(64) Lane {
    std::atomic<uint64_t> next{0};
    std::atomic<uint32_t> end{0};
  };

  void Publish(uint32_t tasks, Order order, const Body& body);
  void Work(int worker, uint32_t job);
  void Drain(Lane& lane, int worker, uint32_t job);
  void Serve(int worker);
  // Waits for another job than `*job`. False when the pool closes.
  bool WaitForJob(uint32_t* job);

  std::vector<Lane> lanes_;
  std::atomic<int> lanes_used_{0};
  std::atomic<const Body*> body_{nullptr};
  alignas(64) std::atomic<uint32_t> job_{0};  // number of the latest; what sleepers wait on
  alignas(64) std::atomic<int64_t> done_{0};  // its tasks
  alignas(64) std::atomic<bool> taken_{false};
  std::atomic<bool> closing_{false};
  std::vector<std::thread> workers_;
};

}  // namespace concertina
