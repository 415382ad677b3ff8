#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "server/engine/engine.h"
#include "server/rpc/calls/unary_call.h"

namespace concertina {

// Answers calls to AdminService.Drain once nothing runs any more, on one thread for all of them: a
// thread of gRPC's must not wait. Thread-safe.
class DrainWaiter {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // `engine` must outlive the waiter.
  explicit DrainWaiter(const Engine& engine);
  // Answers what still waits.
  ~DrainWaiter();
  DrainWaiter(const DrainWaiter&) = delete;
  DrainWaiter& operator=(const DrainWaiter&) = delete;

  // Replies to `call` when the engine has drained, at `give_up`, or when its client has gone.
  // REQUIRES: the engine was told to drain.
  void Wait(std::shared_ptr<UnaryCall> call, TimePoint give_up);
  // Everything that waits is answered at once, and so is what comes later.
  void Stop();

 private:
  struct Waiting {
    std::shared_ptr<UnaryCall> call;
    TimePoint give_up;
  };

  void Run();
  // What of `waiting_` is to be answered now.
  std::vector<Waiting> TakeReady(const EngineGauges& gauges);

  const Engine& engine_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;  // answer at once
  bool ending_ = false;    // end the thread
  std::vector<Waiting> waiting_;
  std::thread thread_;
};

}  // namespace concertina
