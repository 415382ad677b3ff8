#include "cache/precision/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

namespace concertina {
namespace {

const GroupKinds kKinds(64);
constexpr int64_t kRowBytes = 256;  // bf16

struct Totals {
  int64_t room = 0;
  int64_t rows = 0;
  int64_t high = 0;
  int64_t low = 0;
};

Totals Sum(const PrecisionPlan& plan) {
  Totals totals;
  for (const HeadPlan& head : plan.layers) {
    totals.room += head.room();
    totals.rows += head.rows;
    totals.high += head.high;
    totals.low += head.low;
  }
  return totals;
}

PrecisionPlan Plan(double ratio, std::span<const int32_t> holds) {
  const int64_t held = std::accumulate(holds.begin(), holds.end(), int64_t{0});
  const auto payload = static_cast<int64_t>(ratio * static_cast<double>(held * kRowBytes));
  return PlanPrecision(payload, holds, kKinds, kRowBytes, 2.5);
}

TEST(PlanTest, GivesUpBitsBeforeEntries) {
  const std::vector<int32_t> holds(10, 642);  // two rows and 20 groups each
  struct Expected {
    double ratio;
    GroupBits high, low;
    bool rows, raised, dropped;  // are there other rows, high groups, entries without room
  };
  const Expected expected[] = {
      {0.9, {4, 4}, {4, 4}, true, false, false},  {0.4, {4, 4}, {4, 4}, true, false, false},
      {0.27, {4, 4}, {4, 3}, false, true, false}, {0.22, {4, 3}, {3, 2}, false, true, false},
      {0.1, {3, 2}, {3, 2}, false, false, true},  {0.02, {3, 2}, {3, 2}, false, false, true},
  };
  for (const Expected& e : expected) {
    const PrecisionPlan plan = Plan(e.ratio, holds);
    const Totals totals = Sum(plan);
    EXPECT_EQ(kKinds[plan.high].bits(), e.high) << e.ratio;
    EXPECT_EQ(kKinds[plan.low].bits(), e.low) << e.ratio;
    EXPECT_EQ(totals.rows > 20, e.rows) << e.ratio;
    EXPECT_EQ(totals.high > 0, e.raised) << e.ratio;
    EXPECT_EQ(totals.room < 6420, e.dropped) << e.ratio;
  }
  EXPECT_EQ(Sum(Plan(1.0, holds)).rows, 6420);
}

// 0.2 of the bytes of 642 entries: all are kept, and what remains beyond 3/2 bits raises some.
TEST(PlanTest, AFifthKeepsAllEntries) {
  const std::vector<int32_t> holds(30, 642);
  const PrecisionPlan plan = Plan(0.2, holds);
  const Totals totals = Sum(plan);
  EXPECT_EQ(totals.high + totals.low, 600);
  EXPECT_EQ(totals.high, 96);  // 970,752 bytes after the rows; 512 more each than the others' 1,536
  for (const HeadPlan& head : plan.layers) {
    EXPECT_NEAR(head.high, static_cast<double>(totals.high) / 30, 1.0);
  }
}

TEST(PlanTest, WhereEntriesGoDeepLayersKeepMore) {
  const std::vector<int32_t> holds(12, 3202);
  const PrecisionPlan plan = Plan(0.1, holds);
  EXPECT_TRUE(std::is_sorted(plan.layers.begin(), plan.layers.end(),
                             [](const HeadPlan& a, const HeadPlan& b) { return a.low < b.low; }));
  EXPECT_NEAR(plan.layers.back().low, 2.5 * plan.layers.front().low, 3);
}

TEST(PlanTest, NeverCostsMoreThanGrantedNorWastesAGroup) {
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    std::vector<int32_t> holds(1 + random() % 6);
    const auto most = static_cast<uint32_t>(1) << (random() % 12);
    for (int32_t& held : holds) held = static_cast<int32_t>(random() % most);
    const double ratio = static_cast<double>(random() % 1100) / 1000;
    const int64_t held = std::accumulate(holds.begin(), holds.end(), int64_t{0});
    const auto granted = static_cast<int64_t>(ratio * static_cast<double>(held * kRowBytes));
    const PrecisionPlan plan = Plan(ratio, holds);
    int64_t floor_bytes = 0;
    int64_t room_all = 0;
    for (size_t l = 0; l < holds.size(); ++l) {
      const HeadPlan& head = plan.layers[l];
      floor_bytes += std::min(2, holds[l]) * kRowBytes;
      ASSERT_GE(head.rows, std::min(2, holds[l]));
      ASSERT_LE(head.rows, holds[l]);
      ASSERT_GE(std::min(head.high, head.low), 0);
      ASSERT_LT(head.room(), holds[l] + kGroupEntries);
      room_all += std::min<int64_t>(head.room(), holds[l]);
    }
    ASSERT_LE(plan.payload_bytes, std::max(granted, floor_bytes));
    // Where entries were dropped, there was no money for another group.
    if (room_all < held) {
      ASSERT_GT(plan.payload_bytes + kKinds[2].bytes(), granted);
    }
  }
}

TEST(PlanTest, MoreBytesKeepNoFewerEntries) {
  const std::vector<int32_t> holds(10, 642);
  int64_t room = 0;
  for (int permille = 0; permille <= 1000; ++permille) {
    const int64_t now = Sum(Plan(permille / 1000.0, holds)).room;
    ASSERT_GE(now, room) << permille;
    room = now;
  }
  EXPECT_EQ(room, 6420);
}

}  // namespace
}  // namespace concertina
