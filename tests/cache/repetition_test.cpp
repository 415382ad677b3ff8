// What a prompt's repetition does to the ranks of its entries.

#include "cache/repetition.h"

#include <gtest/gtest.h>

#include <limits>

#include "session_driver.h"

namespace concertina {
namespace {

using testing::Contents;
using testing::LayerWriter;
using testing::MakePool;
using testing::PolicyOf;
using testing::Prefill;

constexpr CacheShape kShape{.layers = 2, .kv_heads = 2, .head_dim = 16};

TEST(RepetitionTest, IsHalfOfWhatTheEntriesOfThePromptAreWorth) {
  // One old entry, three new ones, seen by 3, 2 and 1 queries; two heads.
  std::vector<float> score = {7, 3, 4, 1, 7, 3, 4, 1};
  std::vector<float> repeated = {9, 1, 0, 3, 9, 0, 0, 0};
  std::vector<uint32_t> birth = {0, 5, 6, 7, 0, 5, 6, 7};
  CountRepetition({.score = score.data(),
                   .birth = birth.data(),
                   .repeated = repeated.data(),
                   .capacity = 4,
                   .old_entries = 1,
                   .new_entries = 3},
                  2, 8);
  // Means 1, 2 and 1 are 4 in all, as much as was paid: the scale is 1.
  EXPECT_EQ(std::vector<float>(score.begin(), score.begin() + 4),
            (std::vector<float>{7, (3 + 3 * 1) / 2.0F, 4 / 2.0F, (1 + 1 * 3) / 2.0F}));
  EXPECT_EQ(std::vector<float>(score.begin() + 4, score.end()), (std::vector<float>{7, 3, 4, 1}))
      << "nothing was paid";
}

TEST(RepetitionTest, WhatIsNotFiniteIsNotCounted) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> score = {3, 4, 1};
    std::vector<float> repeated = {1, bad, 3};
    std::vector<uint32_t> birth = {0, 1, 2};
    CountRepetition({.score = score.data(),
                     .birth = birth.data(),
                     .repeated = repeated.data(),
                     .capacity = 3,
                     .new_entries = 3},
                    1, 3);
    EXPECT_EQ(score[0], 3);
    EXPECT_EQ(score[2], 1);
  }
}

// The mean attention of every entry is 1, but that of the repetition is not.
LayerWriter Repeated(uint32_t from, uint32_t to) {
  return [=](const SessionCache& cache, int /*layer*/, LayerPrompt* prompt) {
    const int64_t seen = cache.seen() + prompt->new_entries;
    for (int64_t head = 0; head < kShape.kv_heads; ++head) {
      for (int32_t i = prompt->old_entries; i < prompt->entries(); ++i) {
        const int64_t at = head * prompt->capacity + i;
        const uint32_t birth = prompt->birth[at];
        prompt->score[at] += static_cast<float>(seen - int64_t{birth});
        if (prompt->repeated != nullptr) {
          prompt->repeated[at] += birth >= from && birth < to ? 1.0F : 0.01F;
        }
      }
    }
  };
}

std::unique_ptr<SessionCache> Open(PagePool* pool, const char* policy, const Budget& budget) {
  return std::make_unique<SessionCache>(pool, kShape, EntryType::kF32,
                                        PolicyOf(policy, {.slope_r = 1.0}), budget,
                                        OnContextEnd::kRebase);
}

TEST(RepetitionTest, DecidesWhatAFoldKeeps) {
  const auto pool = MakePool(2000, kShape);
  const auto repeating = Open(pool.get(), "concertina-hq", Budget::Tokens(6));
  const auto other = Open(pool.get(), "concertina", Budget::Tokens(6));
  ASSERT_TRUE(Prefill(*repeating, 40, Repeated(20, 24)).ok());
  ASSERT_TRUE(Prefill(*other, 40, Repeated(20, 24)).ok());
  for (int head = 0; head < kShape.kv_heads; ++head) {
    EXPECT_EQ(Contents(*repeating, 1, head).births, (std::vector<uint32_t>{0, 20, 21, 22, 23, 39}));
    EXPECT_EQ(Contents(*other, 1, head).births, (std::vector<uint32_t>{0, 1, 2, 3, 4, 39}));
  }
}

TEST(RepetitionTest, LaterTurnsCompeteWithWhatWasKept) {
  const auto pool = MakePool(2000, kShape);
  const auto cache = Open(pool.get(), "concertina-hq", Budget::Tokens(8));
  ASSERT_TRUE(Prefill(*cache, 40, Repeated(20, 24)).ok());
  // Four of the new ones are worth more than the old ones' least, which saw no attention since.
  ASSERT_TRUE(Prefill(*cache, 40, Repeated(60, 64)).ok());
  const std::vector<uint32_t> births = Contents(*cache, 0, 0).births;
  ASSERT_EQ(births.size(), 8U);
  EXPECT_EQ(births.front(), 0U);
  EXPECT_EQ(births.back(), 79U);
  for (const uint32_t birth : {60U, 61U, 62U, 63U}) {
    EXPECT_TRUE(std::find(births.begin(), births.end(), birth) != births.end()) << birth;
  }
}

TEST(RepetitionTest, WithoutOneTheFirstReadingDecides) {
  const auto pool = MakePool(2000, kShape);
  const auto cache = Open(pool.get(), "concertina-hq", Budget::Tokens(6));
  const auto by_index = [](const SessionCache& held, int layer, LayerPrompt* prompt) {
    prompt->repeated = nullptr;
    Repeated(0, 0)(held, layer, prompt);
  };
  ASSERT_TRUE(Prefill(*cache, 40, by_index).ok());
  EXPECT_EQ(Contents(*cache, 0, 0).births, (std::vector<uint32_t>{0, 1, 2, 3, 4, 39}));
}

}  // namespace
}  // namespace concertina
