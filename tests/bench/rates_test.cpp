#include "bench/rates.h"

#include <gtest/gtest.h>

namespace concertina::bench {
namespace {

Arrivals At(std::initializer_list<int> milliseconds) {
  Arrivals arrivals;
  for (const int ms : milliseconds) {
    arrivals.push_back(BenchClock::time_point() + std::chrono::milliseconds(ms));
  }
  return arrivals;
}

TEST(RateTogether, CountsIntervalsOfOne) {
  EXPECT_DOUBLE_EQ(RateTogether({At({100, 200, 300, 400})}), 10);
}

TEST(RateTogether, CountsOnlyWhileAllGenerate) {
  // From the later beginning, 200, to the earlier end, 400: two tokens of each.
  EXPECT_DOUBLE_EQ(RateTogether({At({0, 100, 200, 300, 400}), At({200, 300, 400, 500})}), 20);
}

TEST(RateTogether, IsZeroWithoutACommonTime) {
  EXPECT_EQ(RateTogether({At({0, 100}), At({100, 200})}), 0);
  EXPECT_EQ(RateTogether({At({0})}), 0);
}

}  // namespace
}  // namespace concertina::bench
