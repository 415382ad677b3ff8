#include "client/eval/statistics.h"

#include <gtest/gtest.h>

#include "client/eval/grading.h"

namespace concertina::eval {
namespace {

using Ids = std::vector<int32_t>;

TEST(Statistics, RougeLIsTwiceTheLongestCommonSubsequenceOverBothLengths) {
  // 1 3 5
  EXPECT_DOUBLE_EQ(RougeL(Ids{1, 2, 3, 4, 5}, Ids{1, 3, 5, 6}), 6.0 / 9);
  EXPECT_DOUBLE_EQ(RougeL(Ids{1, 3, 5, 6}, Ids{1, 2, 3, 4, 5}), 6.0 / 9);
  // The order counts: 1 2 or 2 3.
  EXPECT_DOUBLE_EQ(RougeL(Ids{3, 1, 2}, Ids{1, 2, 3}), 4.0 / 6);
  EXPECT_DOUBLE_EQ(RougeL(Ids{7, 7, 7}, Ids{7}), 2.0 / 4);
  EXPECT_DOUBLE_EQ(RougeL(Ids{1, 2}, Ids{1, 2}), 1);
  EXPECT_DOUBLE_EQ(RougeL(Ids{1, 2}, Ids{3, 4}), 0);
  EXPECT_DOUBLE_EQ(RougeL(Ids{}, Ids{3, 4}), 0);
  EXPECT_DOUBLE_EQ(RougeL(Ids{}, Ids{}), 1);
}

TEST(Statistics, WilsonsIntervalIsThePublishedOne) {
  const Interval eight = Wilson(8, 10);
  EXPECT_NEAR(eight.low, 0.4902, 5e-5);
  EXPECT_NEAR(eight.high, 0.9433, 5e-5);
  // z^2 / (n + z^2) where nothing is right.
  const Interval none = Wilson(0, 10);
  EXPECT_DOUBLE_EQ(none.low, 0);
  EXPECT_NEAR(none.high, 3.841459 / 13.841459, 1e-6);
  EXPECT_DOUBLE_EQ(Wilson(10, 10).low, 1 - none.high);
  EXPECT_EQ(Wilson(0, 0).low, 0);
  EXPECT_EQ(Wilson(0, 0).high, 1);
}

TEST(Statistics, MeansAreWeighted) {
  const std::vector<Part> parts{{3, 4}, {0, 1}};
  EXPECT_DOUBLE_EQ(Mean(parts), 0.6);
  EXPECT_DOUBLE_EQ(Mean({}), 0);
}

TEST(Statistics, TheBootstrapDrawsWholeRecords) {
  // Drawn two of two: 0 and 1 in a quarter of the cases each.
  const std::vector<Part> two{{0, 1}, {1, 1}};
  EXPECT_EQ(Bootstrap(two, 1).low, 0);
  EXPECT_EQ(Bootstrap(two, 1).high, 1);
  const std::vector<Part> equal{{0.5, 1}, {0.5, 1}, {0.5, 1}};
  EXPECT_EQ(Bootstrap(equal, 1).low, 0.5);
  EXPECT_EQ(Bootstrap(equal, 1).high, 0.5);
  const std::vector<Part> one{{3, 4}};
  EXPECT_EQ(Bootstrap(one, 1).low, 0.75);
  // 1.96 standard errors of a share of one half among 100: 0.098.
  std::vector<Part> coins;
  for (int i = 0; i < 100; ++i) coins.push_back({static_cast<double>(i % 2), 1});
  const Interval interval = Bootstrap(coins, 7);
  EXPECT_NEAR(interval.low, 0.402, 0.02);
  EXPECT_NEAR(interval.high, 0.598, 0.02);
  EXPECT_EQ(Bootstrap(coins, 7).low, interval.low);
  EXPECT_EQ(Bootstrap(coins, 7).high, interval.high);
}

TEST(Grading, WithoutChoicesTheAnswerIsExactButForWhiteSpace) {
  const Question question{.text = "Where?", .answer = "On the left."};
  EXPECT_TRUE(IsRight(question, " On the left.\n"));
  EXPECT_FALSE(IsRight(question, "on the left."));
  EXPECT_FALSE(IsRight(question, "On the left"));
  EXPECT_FALSE(IsRight(question, ""));
}

TEST(Grading, WithChoicesTheFirstOneNamedCounts) {
  const Question question{
      .text = "Colour?", .answer = "red", .choices = {"blue", "red", "red wine"}};
  EXPECT_TRUE(IsRight(question, "It is Red, not blue."));
  EXPECT_FALSE(IsRight(question, "blue, or red"));
  EXPECT_FALSE(IsRight(question, "I was bored."));
  EXPECT_FALSE(IsRight(question, "Red wine."));
  EXPECT_FALSE(IsRight(question, "rede"));
  EXPECT_TRUE(IsRight(question, "red"));
}

}  // namespace
}  // namespace concertina::eval
