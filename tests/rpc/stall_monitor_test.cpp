#include "server/rpc/stall_monitor.h"

#include <gtest/gtest.h>

#include <atomic>

namespace concertina {
namespace {

using std::chrono::milliseconds;

class CountingStream final : public Stallable {
 public:
  void CheckStall(std::chrono::steady_clock::time_point) override { ++checks; }
  std::atomic<int> checks{0};
};

TEST(StallMonitorTest, LooksAfterStreamsUntilTheyAreGone) {
  StallMonitor monitor(milliseconds(5));
  const auto first = std::make_shared<CountingStream>();
  auto second = std::make_shared<CountingStream>();
  monitor.Watch(first);
  monitor.Watch(second);
  while (first->checks < 3 || second->checks < 3) std::this_thread::sleep_for(milliseconds(1));
  second.reset();
  const int before = first->checks;
  while (first->checks < before + 3) std::this_thread::sleep_for(milliseconds(1));
}

TEST(StallMonitorTest, EndsAtOnce) {
  const auto start = std::chrono::steady_clock::now();
  { const StallMonitor monitor(milliseconds(60'000)); }
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(5'000));
}

}  // namespace
}  // namespace concertina
