#include "cache/position_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace concertina {
namespace {

TEST(PositionMapTest, StartsAsIdentity) {
  const PositionMap map;
  EXPECT_TRUE(map.identity());
  EXPECT_EQ(map.Of(0), 0);
  EXPECT_EQ(map.Of(12345), 12345);
}

TEST(PositionMapTest, FirstStaysRecentShiftsOldOnesCloseUp) {
  // Ten of 100 tokens live; the newer half is 80, 85, 90, 95, 99.
  const std::vector<uint32_t> births = {0, 10, 11, 40, 41, 80, 85, 90, 95, 99};
  const auto map = PositionMap().Rebase(births, 100, 20, 110);
  ASSERT_TRUE(map.ok());
  const std::vector<int64_t> expected = {0, 1, 2, 3, 4, 5, 10, 15, 20, 24};
  for (size_t i = 0; i < births.size(); ++i) {
    EXPECT_EQ(map->Of(births[i]), expected[i]);
  }
  EXPECT_EQ(map->Of(100), 25);
  EXPECT_EQ(map->Of(119), 44);
  EXPECT_FALSE(map->identity());
}

TEST(PositionMapTest, TheRecentPartIsAtMostHalfOfTheNewRange) {
  // The newer half would reach back 60 positions; the new range has 50, so 25 are left as they
  // were.
  const std::vector<uint32_t> births = {0, 5, 40, 60, 75, 80, 99};
  const auto map = PositionMap().Rebase(births, 100, 10, 100);
  ASSERT_TRUE(map.ok());
  EXPECT_EQ(map->Of(100) - map->Of(75), 25);
  EXPECT_EQ(map->Of(60), 3);
  EXPECT_EQ(map->Of(75), 4);
}

TEST(PositionMapTest, TooManyOldOnesSharePositions) {
  std::vector<uint32_t> births;
  for (uint32_t birth = 0; birth < 100; ++birth) {
    births.push_back(birth);
  }
  const auto map = PositionMap().Rebase(births, 100, 5, 40);
  ASSERT_TRUE(map.ok());
  EXPECT_EQ(map->Of(100), 20);
  EXPECT_EQ(map->Of(0), 0);
  std::set<int64_t> used;
  for (const uint32_t birth : births) {
    used.insert(map->Of(birth));
  }
  EXPECT_EQ(used.size(), 20U);  // every position serves
}

TEST(PositionMapTest, RefusesWhatCannotFit) {
  const std::vector<uint32_t> births = {0, 50, 99};
  EXPECT_EQ(PositionMap().Rebase(births, 100, 101, 100).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(PositionMap().Rebase(births, 100, 98, 100).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(PositionMap().Rebase(births, 100, 97, 100).ok());
  EXPECT_FALSE(PositionMap().Rebase({}, 0, 101, 100).ok());
  EXPECT_TRUE(PositionMap().Rebase(std::vector<uint32_t>{0}, 1, 99, 100).ok());
}

TEST(PositionMapTest, RandomHistoriesStayMonotoneAndWithinRange) {
  const uint32_t seed = 424242;
  std::mt19937 random(seed);
  for (int history = 0; history < 300; ++history) {
    const int64_t max_positions = 8 + random() % 400;
    PositionMap map;
    std::vector<uint32_t> births = {0};
    int64_t seen = 1;
    for (int turn = 0; turn < 30; ++turn) {
      const int64_t more = 1 + random() % (max_positions / 2);
      if (map.Of(seen) + more > max_positions) {
        std::vector<int64_t> old;
        for (const uint32_t birth : births) {
          old.push_back(map.Of(birth));
        }
        const int64_t old_next = map.Of(seen);
        auto next = map.Rebase(births, seen, more, max_positions);
        ASSERT_TRUE(next.ok()) << next.status() << " seed " << seed;
        ASSERT_LE(next->Of(seen) + more, max_positions);
        ASSERT_LE(next->Of(seen), std::max<int64_t>(3, max_positions / 2));
        ASSERT_EQ(next->Of(births.front()), 0);
        ASSERT_EQ(next->Of(seen) - next->Of(births.back()), old_next - old.back());
        for (size_t i = 1; i < births.size(); ++i) {
          const int64_t step = next->Of(births[i]) - next->Of(births[i - 1]);
          ASSERT_GE(step, 0);
          ASSERT_LE(step, std::max<int64_t>(1, old[i] - old[i - 1]));
        }
        map = *next;
      }
      for (int64_t i = 0; i < more; ++i) {
        births.push_back(static_cast<uint32_t>(seen++));
      }
      // Keep the first, the newest and a random third of the others.
      std::vector<uint32_t> kept;
      for (const uint32_t birth : births) {
        if (birth == 0 || birth + 1 == seen || random() % 3 == 0) {
          kept.push_back(birth);
        }
      }
      births = kept;
    }
  }
}

}  // namespace
}  // namespace concertina
