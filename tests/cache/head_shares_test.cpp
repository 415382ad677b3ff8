#include "cache/head_shares.h"

#include <gtest/gtest.h>

#include <limits>
#include <numeric>

namespace concertina {
namespace {

using Counts = std::vector<int32_t>;

TEST(SplitByWorthTest, TheWorthiestTakeWhatIsNotSafe) {
  // Shares of 4, the first and the newest of which are safe; the four entries left are the second
  // head's best, whose attention is spread less, and the best others of the first.
  const std::vector<std::vector<float>> worth = {{90, 3, 3, 2, 2, 1, 1, 90},
                                                 {1, 40, 2, 2, 1, 1, 1, 1}};
  EXPECT_EQ(SplitByWorth(worth, 4, 2), (Counts{5, 3}));
}

TEST(SplitByWorthTest, EqualHeadsShareEqually) {
  const std::vector<std::vector<float>> worth(3, {5, 4, 3, 2, 1, 0});
  EXPECT_EQ(SplitByWorth(worth, 3, 2), (Counts{3, 3, 3}));
}

TEST(SplitByWorthTest, SizeDoesNotMatterAndNothingIsWorthNothing) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::vector<float>> worth = {
      {0, 1e-6F, 2e-6F, 3e-6F, 0}, {0, 100, 300, 200, 0}, {nan, nan, nan, nan, nan}};
  EXPECT_EQ(SplitByWorth(worth, 4, 2), (Counts{5, 5, 2}));
}

TEST(SplitByWorthTest, ShortHeadsLeaveTheirPartToOthers) {
  const std::vector<std::vector<float>> worth = {{1, 1}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1}};
  EXPECT_EQ(SplitByWorth(worth, 5, 2), (Counts{2, 8}));
  EXPECT_EQ(SplitByWorth(worth, 50, 2), (Counts{2, 10}));
}

TEST(SplitAsFoldedTest, KeepsTheProportionsOfTheFold) {
  EXPECT_EQ(SplitAsFolded(60, Counts{40, 10, 10}, Counts{41, 11, 11}, 2), (Counts{40, 10, 10}));
  EXPECT_EQ(SplitAsFolded(6, Counts{40, 10, 10}, Counts{41, 11, 11}, 2), (Counts{2, 2, 2}));
  // What the first cannot use yet, the others have.
  EXPECT_EQ(SplitAsFolded(120, Counts{40, 10, 10}, Counts{41, 41, 41}, 2), (Counts{41, 39, 40}));
}

TEST(FitPagesTest, GivesUpTheLeastUsedPage) {
  Counts counts = {17, 20, 3};  // 2, 2 and 1 pages of 16
  FitPages(4, 16, Counts{40, 40, 40}, 2, &counts);
  EXPECT_EQ(counts, (Counts{16, 21, 3}));
}

TEST(FitPagesTest, WhatFitsStays) {
  Counts counts = {17, 20, 3};
  FitPages(5, 16, Counts{40, 40, 40}, 2, &counts);
  EXPECT_EQ(counts, (Counts{17, 20, 3}));
}

TEST(FitPagesTest, FitsWhateverTheCountsAre) {
  for (int32_t share = 2; share <= 40; ++share) {
    for (int32_t most = 2; most <= 3 * share - 4; ++most) {
      Counts counts = {most, (3 * share - most) / 2, 3 * share - most - (3 * share - most) / 2};
      const int64_t pages_max = 3 * ((share + 6) / 7);
      FitPages(pages_max, 7, Counts{200, 200, 200}, 2, &counts);
      int64_t pages = 0;
      for (const int32_t count : counts) {
        EXPECT_GE(count, 2);
        pages += (count + 6) / 7;
      }
      EXPECT_LE(pages, pages_max);
      EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), 0), 3 * share);
    }
  }
}

}  // namespace
}  // namespace concertina
