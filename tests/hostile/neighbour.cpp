#include "tests/hostile/neighbour.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace concertina::testing {
namespace {

constexpr std::chrono::milliseconds kCallPause{5};

}  // namespace

Neighbour::Neighbour(const ServerProcess& server)
    : caller_(server.Connect()), talker_(server.Connect()) {
  calls_ = std::thread([this] { CallAgainAndAgain(*caller_); });
  talk_ = std::thread([this] { Talk(*talker_); });
}

Neighbour::~Neighbour() {
  stopping_ = true;
  calls_.join();
  talk_.join();
}

void Neighbour::CallAgainAndAgain(client::Client& client) {
  while (!stopping_) {
    const auto start = Clock::now();
    if (!client.GetModel().ok()) ++failures_;
    const std::chrono::duration<double, std::milli> time = Clock::now() - start;
    {
      const std::lock_guard lock(mutex_);
      window_.call_ms.push_back(time.count());
    }
    std::this_thread::sleep_for(kCallPause);
  }
}

void Neighbour::Talk(client::Client& client) {
  while (!stopping_) {
    auto conversation = client.Open();
    if (!conversation.ok()) {
      ++failures_;
      continue;
    }
    client::AskOptions options;
    options.max_tokens = 300;
    options.ignore_eos = true;
    auto last = Clock::now();
    const auto on_text = [&](std::string_view) {
      const auto now = Clock::now();
      const std::lock_guard lock(mutex_);
      window_.token_ms.push_back(std::chrono::duration<double, std::milli>(now - last).count());
      last = now;
      return !stopping_.load();
    };
    const auto answer = conversation->Ask({client::Text("hello")}, options, on_text);
    if (!answer.ok() && !stopping_) ++failures_;
    static_cast<void>(conversation->Close());
  }
}

Neighbour::Window Neighbour::Take() {
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  Window taken = std::move(window_);
  taken.seconds = std::chrono::duration<double>(now - since_).count();
  window_ = Window();
  since_ = now;
  return taken;
}

double Quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto at = static_cast<size_t>(share * static_cast<double>(values.size()));
  return values[std::min(at, values.size() - 1)];
}

int64_t ProcessMemory(pid_t pid, const std::string& field) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(field + ":", 0) == 0) return std::atoll(line.c_str() + field.size() + 1) * 1024;
  }
  return -1;
}

int OpenFiles(pid_t pid) {
  const std::filesystem::directory_iterator files("/proc/" + std::to_string(pid) + "/fd");
  return static_cast<int>(std::distance(begin(files), end(files)));
}

std::chrono::milliseconds TimeToServe(const ServerProcess& server,
                                      std::chrono::milliseconds limit) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  while (!server.Connect()->GetModel().ok() && Clock::now() - start < limit) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start);
}

}  // namespace concertina::testing
