#include "server/rpc/calls/drain_waiter.h"

#include <algorithm>
#include <utility>

#include "concertina/v1/admin_service.pb.h"

namespace concertina {
namespace {

constexpr std::chrono::milliseconds kPeriod{10};
// The engine takes commands between two steps: until then its gauges tell of the time before.
constexpr std::chrono::seconds kStepTime{1};

void Answer(UnaryCall& call, const EngineGauges& gauges) {
  if (call.cancelled()) return call.Finish(call.call().CancelStatus());
  v1::DrainResponse response;
  response.set_requests_running(gauges.requests_running);
  call.Reply(response);
}

}  // namespace

DrainWaiter::DrainWaiter(const Engine& engine) : engine_(engine), thread_([this] { Run(); }) {}

DrainWaiter::~DrainWaiter() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = ending_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void DrainWaiter::Wait(std::shared_ptr<UnaryCall> call, TimePoint give_up) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back({std::move(call), give_up});
  }
  wake_.notify_all();
}

void DrainWaiter::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
}

std::vector<DrainWaiter::Waiting> DrainWaiter::TakeReady(const EngineGauges& gauges) {
  const bool drained =
      gauges.draining && gauges.requests_running == 0 && gauges.requests_waiting == 0;
  const auto now = std::chrono::steady_clock::now();
  const auto ready = std::partition(waiting_.begin(), waiting_.end(), [&](const Waiting& waiting) {
    const TimePoint give_up = waiting.give_up + (gauges.draining ? kPeriod * 0 : kStepTime);
    return !(drained || stopping_ || now >= give_up || waiting.call->cancelled());
  });
  std::vector<Waiting> taken(std::make_move_iterator(ready),
                             std::make_move_iterator(waiting_.end()));
  waiting_.erase(ready, waiting_.end());
  return taken;
}

void DrainWaiter::Run() {
  std::unique_lock lock(mutex_);
  while (!ending_ || !waiting_.empty()) {
    if (waiting_.empty()) {
      wake_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
      continue;
    }
    const EngineGauges gauges = engine_.gauges();
    std::vector<Waiting> ready = TakeReady(gauges);
    lock.unlock();
    for (const Waiting& waiting : ready) Answer(*waiting.call, gauges);
    ready.clear();
    lock.lock();
    if (!waiting_.empty()) wake_.wait_for(lock, kPeriod);
  }
}

}  // namespace concertina
