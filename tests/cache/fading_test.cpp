#include "cache/fading.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "session_driver.h"

namespace concertina::testing {
namespace {

constexpr CacheShape kShape{2, 2, 8};
constexpr int32_t kTurnTokens = 20;

TEST(FadingTest, HalvesWithAThirdOfWhatAFixedBudgetBuys) {
  EXPECT_EQ(FadingHalfLife(std::vector<int32_t>{60, 120}), 30);
  EXPECT_TRUE(Fades(Budget::Tokens(90)));
  EXPECT_TRUE(Fades(Budget::Bytes(1 << 20)));
  EXPECT_FALSE(Fades(Budget::Ratio(0.2)));
}

TEST(FadingTest, CountsFromTheEndOfATurnToTheBeginningOfTheLast) {
  const std::vector<int64_t> starts = {0, 10, 100, 150, 300};
  EXPECT_EQ(FadingByTurn(starts, 100),
            (std::vector<float>{std::exp2(-2.9F), 0.25F, std::exp2(-1.5F), 1, 1}));
  EXPECT_EQ(FadingByTurn(std::vector<int64_t>{0}, 100), std::vector<float>{1});
}

TEST(FadingTest, MultipliesByTheTurnOfABirth) {
  const std::vector<uint32_t> birth = {0, 9, 10, 99, 100, 200};
  std::vector<float> worth(birth.size(), 8);
  Fade(std::vector<int64_t>{0, 10, 50, 100}, std::vector<float>{0.25F, 0.5F, 1, 1}, birth.data(),
       worth);
  EXPECT_EQ(worth, (std::vector<float>{2, 2, 4, 8, 8, 8}));
}

// What the first half of the conversation said always has twice the attention of the rest.
void WriteTurn(const SessionCache& cache, int layer, LayerPrompt* prompt) {
  ElementWriter(1)(cache, layer, prompt);
  const int64_t seen_after = cache.seen() + kTurnTokens;
  for (int64_t head = 0; head < kShape.kv_heads; ++head) {
    for (int64_t i = head * prompt->capacity; i < head * prompt->capacity + prompt->entries();
         ++i) {
      const float mean = prompt->birth[i] < 10 * kTurnTokens ? 2 : 1;
      prompt->score[i] = mean * static_cast<float>(seen_after - prompt->birth[i]);
      std::fill_n(prompt->v + i * kShape.head_dim, kShape.head_dim, 1.0F);
    }
  }
}

// Of the last three turns of twenty, the entries that the first head of the last layer has left.
int64_t LeftOfTheLast(std::string_view policy, Budget budget) {
  const auto pool = MakePool(4000, kShape);
  SessionCache cache(pool.get(), kShape, EntryType::kF32, PolicyOf(policy), budget,
                     OnContextEnd::kRefuse);
  for (int turn = 0; turn < 20; ++turn) {
    EXPECT_TRUE(Prefill(cache, kTurnTokens, WriteTurn).ok());
  }
  const std::vector<uint32_t> births = Contents(cache, 1, 0).births;
  return std::ranges::count_if(births, [](uint32_t birth) { return birth >= 17 * kTurnTokens; });
}

class FadingOf : public ::testing::TestWithParam<std::string_view> {};

TEST_P(FadingOf, FixedBudgetsKeepWhatWasSaidLast) {
  EXPECT_EQ(LeftOfTheLast(GetParam(), Budget::Tokens(80)), 3 * kTurnTokens);
  EXPECT_EQ(LeftOfTheLast(GetParam(), Budget::Bytes(80 * 2 * 2 * 2 * 8 * 4 * 5 / 4)),
            3 * kTurnTokens);
}

TEST_P(FadingOf, RatiosGrowWithTheConversationAndKeepWhatIsWorthMost) {
  EXPECT_LT(LeftOfTheLast(GetParam(), Budget::Ratio(0.2)), 3 * kTurnTokens / 2);
}

INSTANTIATE_TEST_SUITE_P(Policies, FadingOf, ::testing::Values("concertina", "concertina-hq"),
                         [](const auto& test) { return TestName(test.param); });

}  // namespace
}  // namespace concertina::testing
