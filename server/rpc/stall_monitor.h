#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace concertina {

// A stream that may wait for its client.
class Stallable {
 public:
  virtual ~Stallable() = default;
  // Called now and then on the monitor's thread: gives up if the client has not moved for too long.
  virtual void CheckStall(std::chrono::steady_clock::time_point now) = 0;
};

// Looks after streams whose clients neither read nor write: gRPC buffers for them without bound and
// its keepalive does not reap them. One thread for all streams. Thread-safe.
class StallMonitor {
 public:
  explicit StallMonitor(std::chrono::milliseconds period);
  ~StallMonitor();
  StallMonitor(const StallMonitor&) = delete;
  StallMonitor& operator=(const StallMonitor&) = delete;

  // Until the stream is gone.
  void Watch(std::weak_ptr<Stallable> stream);

 private:
  void Run();

  const std::chrono::milliseconds period_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::vector<std::weak_ptr<Stallable>> streams_;
  std::thread thread_;
};

}  // namespace concertina
