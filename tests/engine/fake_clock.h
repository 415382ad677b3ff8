#pragma once

#include <atomic>
#include <chrono>

#include "server/engine/clock.h"

namespace concertina::testing {

// Time that moves only when told to. Thread-safe.
class FakeClock final : public Clock {
 public:
  std::chrono::steady_clock::time_point Now() const override {
    return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(steady_.load()));
  }
  std::chrono::system_clock::time_point WallNow() const override {
    return std::chrono::system_clock::time_point(std::chrono::nanoseconds(wall_.load()));
  }

  // Time passes: both clocks.
  void Advance(std::chrono::nanoseconds by) {
    steady_ += by.count();
    wall_ += by.count();
  }
  // Somebody sets the wall clock.
  void JumpWall(std::chrono::nanoseconds by) { wall_ += by.count(); }

 private:
  static constexpr int64_t kStart = 1'700'000'000'000'000'000;
  std::atomic<int64_t> steady_{kStart};
  std::atomic<int64_t> wall_{kStart};
};

}  // namespace concertina::testing
