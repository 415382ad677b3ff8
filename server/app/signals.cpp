#include "server/app/signals.h"

#include <pthread.h>

#include <csignal>
#include <cstdlib>
#include <ctime>
#include <utility>

namespace concertina {
namespace {

// As a shell reports a process ended by a signal.
constexpr int kSignalExitBase = 128;
constexpr long kPollNs = 100'000'000;

sigset_t Signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

StopSignals::StopSignals(std::function<void()> on_second) : on_second_(std::move(on_second)) {
  const sigset_t set = Signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  // A client or scraper that goes away is an error of write(), not the end of the process.
  std::signal(SIGPIPE, SIG_IGN);
  thread_ = std::thread([this] { Run(); });
}

StopSignals::~StopSignals() {
  ending_ = true;
  thread_.join();
}

void StopSignals::Wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return signals_ > 0; });
}

void StopSignals::Run() {
  const sigset_t set = Signals();
  const timespec poll{0, kPollNs};
  while (!ending_) {
    const int signal = sigtimedwait(&set, nullptr, &poll);
    if (signal > 0) Handle(signal);
    EndIfLate();
  }
}

void StopSignals::EndAt(std::chrono::steady_clock::time_point limit,
                        std::function<void()> on_late) {
  const std::lock_guard lock(mutex_);
  limit_ = limit;
  on_late_ = std::move(on_late);
}

void StopSignals::EndIfLate() {
  const std::lock_guard lock(mutex_);
  if (!limit_.has_value() || std::chrono::steady_clock::now() < *limit_) return;
  on_late_();
  std::_Exit(1);
}

void StopSignals::Handle(int signal) {
  const std::lock_guard lock(mutex_);
  if (!ready_) std::_Exit(0);
  if (++signals_ > 1) {
    on_second_();
    std::_Exit(kSignalExitBase + signal);
  }
  changed_.notify_all();
}

}  // namespace concertina
