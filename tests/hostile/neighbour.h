#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "client/client.h"
#include "tests/integration/server_process.h"

namespace concertina::testing {

// An ordinary client beside a hostile one: makes small calls all the time, and holds a conversation
// whose tokens it times. Every failure of its calls is counted.
class Neighbour {
 public:
  explicit Neighbour(const ServerProcess& server);
  ~Neighbour();
  Neighbour(const Neighbour&) = delete;
  Neighbour& operator=(const Neighbour&) = delete;

  struct Window {
    std::vector<double> call_ms;   // of small calls
    std::vector<double> token_ms;  // between tokens
    double seconds = 0;
    double tokens_per_second() const { return static_cast<double>(token_ms.size()) / seconds; }
  };
  // What was seen since the last call.
  Window Take();
  int failures() const { return failures_.load(); }

 private:
  using Clock = std::chrono::steady_clock;
  void CallAgainAndAgain(client::Client& client);
  void Talk(client::Client& client);

  std::atomic<bool> stopping_{false};
  std::atomic<int> failures_{0};
  std::mutex mutex_;
  Window window_;
  Clock::time_point since_ = Clock::now();
  std::unique_ptr<client::Client> caller_;
  std::unique_ptr<client::Client> talker_;
  std::thread calls_;
  std::thread talk_;
};

// The value below which `share` of the values lie; 0 of none.
double Quantile(std::vector<double> values, double share);

// A field of /proc/<pid>/status in bytes ("VmRSS", "VmHWM").
int64_t ProcessMemory(pid_t pid, const std::string& field);
// Open descriptors of a process.
int OpenFiles(pid_t pid);

// A small call on a new connection, tried until it works: how long that took, or `limit`.
std::chrono::milliseconds TimeToServe(const ServerProcess& server,
                                      std::chrono::milliseconds limit = std::chrono::seconds(10));

}  // namespace concertina::testing
