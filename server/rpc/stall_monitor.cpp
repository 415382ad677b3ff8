#include "server/rpc/stall_monitor.h"

#include <utility>

namespace concertina {

StallMonitor::StallMonitor(std::chrono::milliseconds period)
    : period_(period), thread_([this] { Run(); }) {}

StallMonitor::~StallMonitor() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void StallMonitor::Watch(std::weak_ptr<Stallable> stream) {
  const std::lock_guard lock(mutex_);
  streams_.push_back(std::move(stream));
}

void StallMonitor::Run() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, period_, [this] { return stopping_; })) {
    std::erase_if(streams_,
                  [](const std::weak_ptr<Stallable>& stream) { return stream.expired(); });
    std::vector<std::weak_ptr<Stallable>> streams = streams_;
    // Streams have locks of their own and may end while being looked at: not under ours.
    lock.unlock();
    const auto now = std::chrono::steady_clock::now();
    for (const std::weak_ptr<Stallable>& weak : streams) {
      if (const std::shared_ptr<Stallable> stream = weak.lock()) stream->CheckStall(now);
    }
    lock.lock();
  }
}

}  // namespace concertina
