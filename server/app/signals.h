#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

namespace concertina {

// SIGTERM and SIGINT, taken on a thread of its own. Until SetReady the first one ends the process
// at once (nothing is served yet); afterwards it is a request to stop, and the second one ends the
// process. Construct before any other thread starts: they inherit that these signals are blocked.
class StopSignals {
 public:
  // `on_second` is called before the second signal ends the process.
  explicit StopSignals(std::function<void()> on_second);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  void SetReady() { ready_ = true; }
  // Blocks until the first signal.
  void Wait();
  // Should the process still be there at `limit`, calls `on_late` and ends it with exit code 1:
  // taking everything down needs threads and memory, of which there may be none to be had.
  void EndAt(std::chrono::steady_clock::time_point limit, std::function<void()> on_late);

 private:
  void Run();
  void Handle(int signal);
  void EndIfLate();

  const std::function<void()> on_second_;
  std::atomic<bool> ready_{false};
  std::atomic<bool> ending_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  int signals_ = 0;
  std::optional<std::chrono::steady_clock::time_point> limit_;
  std::function<void()> on_late_;
  std::thread thread_;
};

}  // namespace concertina
