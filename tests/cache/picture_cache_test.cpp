// Pictures with a budget of their own in a session's cache: what of them is kept through steps,
// turns, forks and rebases.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

#include "session_driver.h"

namespace concertina {
namespace {

using testing::Contents;
using testing::DecodeToken;
using testing::ElementWriter;
using testing::FoldPrompt;
using testing::HeadContents;
using testing::LayerWriter;
using testing::MakePool;
using testing::PolicyOf;

constexpr CacheShape kShape{.layers = 3, .kv_heads = 2, .head_dim = 4};
const RotateFn kShift = [](float* key, int64_t delta) { key[0] += static_cast<float>(delta); };
constexpr ImageFold kMerged{.share = 0.25, .merge = true};

std::unique_ptr<SessionCache> Open(PagePool* pool, const Budget& budget, ImageFold images,
                                   EntryType type = EntryType::kF32) {
  return std::make_unique<SessionCache>(pool, kShape, type, PolicyOf("concertina"), budget,
                                        OnContextEnd::kRebase, TurnFold::kRefold, images, kShift);
}

absl::Status Prompt(SessionCache& cache, int32_t tokens, const std::vector<TokenSpan>& pictures,
                    const LayerWriter& writer, const std::vector<TokenSpan>& pins = {}) {
  if (absl::Status begun = cache.BeginPrefill(tokens, pins, pictures); !begun.ok()) {
    return begun;
  }
  return FoldPrompt(cache, writer);
}

// All layers and heads.
void ForEachHead(const SessionCache& cache, const std::function<void(const HeadContents&)>& check) {
  for (int at = 0; at < kShape.layers * kShape.kv_heads; ++at) {
    check(Contents(cache, at / kShape.kv_heads, at % kShape.kv_heads));
  }
}

int Between(const HeadContents& held, uint32_t first, uint32_t end) {
  return static_cast<int>(
      std::count_if(held.births.begin(), held.births.end(),
                    [&](uint32_t birth) { return birth >= first && birth < end; }));
}

TEST(PictureCacheTest, WhatIsLeftOfABudgetIsTheTexts) {
  const auto pool = MakePool(4000, kShape);
  for (const bool merge : {false, true}) {
    const auto cache = Open(pool.get(), Budget::Ratio(1), {.share = 0.25, .merge = merge});
    ASSERT_TRUE(Prompt(*cache, 60, {{10, 40}}, ElementWriter(1)).ok());
    ForEachHead(*cache, [&](const HeadContents& held) {
      EXPECT_EQ(held.births.size(), 30U);
      EXPECT_EQ(Between(held, 10, 50), 10);
      EXPECT_EQ(std::accumulate(held.masses.begin(), held.masses.end(), 0), merge ? 60 : 30);
    });
    EXPECT_EQ(cache->effective_budget().entries_total, 30 * 6);
    // Decoding drops nothing where the budget has room, and the next picture leaves the first one.
    cache->BeginDecode();
    for (int i = 0; i < 5; ++i) {
      ASSERT_TRUE(DecodeToken(*cache, 1).ok());
    }
    cache->EndDecode();
    ASSERT_TRUE(Prompt(*cache, 20, {{0, 12}}, ElementWriter(1)).ok());
    ForEachHead(*cache, [&](const HeadContents& held) {
      EXPECT_EQ(Between(held, 10, 50), 10);
      EXPECT_EQ(Between(held, 65, 77), 3);
      EXPECT_EQ(held.births.size(), 35U + 8U + 3U);
    });
  }
  EXPECT_EQ(pool->used_bytes(), 0);
}

TEST(PictureCacheTest, AMergedKeyIsAtItsEntrysPosition) {
  const LayerWriter positions = [](const SessionCache& cache, int layer, LayerPrompt* prompt) {
    ElementWriter(3)(cache, layer, prompt);
    for (int head = 0; head < kShape.kv_heads; ++head) {
      for (int32_t i = prompt->old_entries; i < prompt->entries(); ++i) {
        const int64_t at = head * prompt->capacity + i;
        prompt->k[at * 4] = static_cast<float>(cache.PositionOf(prompt->birth[at]));
      }
    }
  };
  const auto pool = MakePool(4000, kShape);
  const auto cache = Open(pool.get(), Budget::Ratio(0.5), kMerged);
  const auto check = [](const SessionCache& held_by) {
    int merged = 0;
    ForEachHead(held_by, [&](const HeadContents& held) {
      for (size_t i = 0; i < held.births.size(); ++i) {
        ASSERT_EQ(held.k[4 * i], static_cast<float>(held_by.PositionOf(held.births[i])));
        merged += held.masses[i] > 1 ? 1 : 0;
      }
    });
    EXPECT_GT(merged, 0);
  };
  for (int turn = 0; turn < 30; ++turn) {
    ASSERT_TRUE(cache->RebaseFor(30, 256, kShift).ok());
    ASSERT_TRUE(Prompt(*cache, 30, {{2, 24}}, positions).ok());
    ASSERT_NO_FATAL_FAILURE(check(*cache));
  }
  EXPECT_LT(cache->next_position(), cache->seen()) << "positions were meant to run out";
  const auto fork = cache->Fork();
  ASSERT_TRUE(fork.ok());
  ASSERT_TRUE((*fork)->RebaseFor(200, 256, kShift).ok());
  ASSERT_NO_FATAL_FAILURE(check(**fork));
  ASSERT_NO_FATAL_FAILURE(check(*cache));
}

TEST(PictureCacheTest, AForkGoesOnAlike) {
  const auto pool = MakePool(4000, kShape);
  const auto cache = Open(pool.get(), Budget::Ratio(0.4), kMerged);
  ASSERT_TRUE(Prompt(*cache, 60, {{10, 40}}, ElementWriter(1)).ok());
  const auto fork = cache->Fork();
  ASSERT_TRUE(fork.ok());
  for (SessionCache* each : {cache.get(), fork->get()}) {
    EXPECT_TRUE(each->weighs_mass());
    ASSERT_TRUE(Prompt(*each, 50, {{1, 30}}, ElementWriter(1)).ok());
  }
  for (int at = 0; at < 6; ++at) {
    const HeadContents a = Contents(*cache, at / 2, at % 2), b = Contents(**fork, at / 2, at % 2);
    EXPECT_EQ(a.births, b.births);
    EXPECT_EQ(a.k, b.k);
    EXPECT_EQ(a.v, b.v);
    EXPECT_EQ(a.masses, b.masses);
  }
}

// While a capped session decodes, entries move between slots and go; what attention adds to a score
// goes with them.
TEST(PictureCacheTest, WhileDecodingMassStaysWithItsEntry) {
  const auto pool = MakePool(4000, kShape);
  for (const EntryType type : {EntryType::kF32, EntryType::kBf16, EntryType::kInt8}) {
    const auto cache = Open(pool.get(), Budget::Tokens(24), kMerged, type);
    ASSERT_TRUE(Prompt(*cache, 60, {{10, 40}}, ElementWriter(1)).ok());
    EXPECT_EQ(std::as_const(*cache).Head(0, 0).live_bias(), nullptr);
    cache->BeginDecode();
    for (int step = 0; step < 30; ++step) {
      ASSERT_TRUE(DecodeToken(*cache, 1).ok());
      int merged = 0;
      for (int at = 0; at < 6; ++at) {
        const HeadCache& head = std::as_const(*cache).Head(at / 2, at % 2);
        for (const int32_t slot : head.SlotsInBirthOrder()) {
          const uint16_t mass = head.Meta(slot).mass;
          ASSERT_EQ(head.live_bias()[slot], static_cast<float>(std::log(static_cast<double>(mass))))
              << step;
          merged += mass > 1 ? 1 : 0;
        }
      }
      EXPECT_GT(merged, 0);
    }
    cache->EndDecode();
    EXPECT_EQ(cache->live_entries(), (int64_t{kShape.layers} * kShape.kv_heads) *
                                         cache->EntriesAffordable(cache->budget(), cache->seen()));
  }
}

// No bias where nothing was merged, whatever other policies' entries stand for.
TEST(PictureCacheTest, NothingIsWeighedWhereNobodyAsked) {
  const auto pool = MakePool(4000, kShape);
  const auto decoding = [](SessionCache& cache) {
    EXPECT_TRUE(Prompt(cache, 60, {{10, 40}}, ElementWriter(1)).ok());
    cache.BeginDecode();
    return std::as_const(cache).Head(0, 0).live_bias();
  };
  const auto dropped = Open(pool.get(), Budget::Ratio(0.5), {.share = 0.25});
  EXPECT_FALSE(dropped->weighs_mass());
  EXPECT_EQ(decoding(*dropped), nullptr);
  SessionCache elastic(pool.get(), kShape, EntryType::kF32, PolicyOf("elastic"), Budget::Ratio(0.5),
                       OnContextEnd::kRefuse);
  EXPECT_EQ(decoding(elastic), nullptr);
  EXPECT_GT(elastic.mass_represented(), elastic.live_entries());
}

}  // namespace
}  // namespace concertina
