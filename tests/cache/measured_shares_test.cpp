// Shares of layers that follow from the attention of the first prompt of which something must go.

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "session_driver.h"

namespace concertina {
namespace {

using testing::ElementWriter;
using testing::LayerWriter;
using testing::MakePool;
using testing::PolicyOf;
using testing::Prefill;

constexpr CacheShape kShape{.layers = 4, .kv_heads = 2, .head_dim = 16};

// The deeper the layer, the more evenly it attends.
LayerWriter Attention() {
  return [](const SessionCache&, int layer, LayerPrompt* prompt) {
    for (int64_t head = 0; head < kShape.kv_heads; ++head) {
      for (int32_t i = prompt->old_entries; i < prompt->entries(); ++i) {
        const int64_t at = head * prompt->capacity + i;
        const auto rank = static_cast<float>(1 + prompt->birth[at] * 37 % 101);
        prompt->score[at] += std::pow(rank, 0.3F * static_cast<float>(layer) - 1.2F);
      }
    }
  };
}

class MeasuredSharesTest : public ::testing::Test {
 protected:
  std::unique_ptr<SessionCache> Open(Budget budget) {
    return std::make_unique<SessionCache>(pool_.get(), kShape, EntryType::kBf16,
                                          PolicyOf("prefixkv"), budget, OnContextEnd::kRefuse);
  }
  static std::vector<int32_t> Held(const SessionCache& cache) {
    std::vector<int32_t> held;
    for (int layer = 0; layer < kShape.layers; ++layer) {
      held.push_back(cache.EntriesIn(layer, 0));
    }
    return held;
  }
  static int32_t Sum(const std::vector<int32_t>& held) {
    return std::accumulate(held.begin(), held.end(), 0);
  }

  std::unique_ptr<PagePool> pool_ = MakePool(4000, kShape);
};

TEST_F(MeasuredSharesTest, LayersThatAttendEvenlyGetMore) {
  const auto cache = Open(Budget::Ratio(0.2));
  ASSERT_TRUE(Prefill(*cache, 120, Attention()).ok());
  const std::vector<int32_t> held = Held(*cache);
  EXPECT_LT(held[0], held[1]);
  EXPECT_LT(held[1], held[2]);
  EXPECT_LT(held[2], held[3]);
  EXPECT_EQ(Sum(held), 24 * 4);
  EXPECT_GE(held[0], 7);  // 0.3 of an even share
}

TEST_F(MeasuredSharesTest, AreMeasuredOnceAndHoldFromThereOn) {
  const auto cache = Open(Budget::Ratio(0.2));
  ASSERT_TRUE(cache->BeginPrefill(120).ok());
  EXPECT_TRUE(cache->measuring());
  ASSERT_TRUE(Prefill(*cache, 120, Attention()).ok());
  const std::vector<int32_t> first = Held(*cache);
  const auto fork = *cache->Fork();
  for (SessionCache* each : {cache.get(), fork.get()}) {
    ASSERT_TRUE(each->BeginPrefill(120).ok());
    EXPECT_FALSE(each->measuring());
    ASSERT_TRUE(Prefill(*each, 120, ElementWriter(1)).ok());
  }
  EXPECT_EQ(Held(*cache), Held(*fork));
  for (int layer = 0; layer < kShape.layers; ++layer) {
    EXPECT_NEAR(cache->EntriesIn(layer, 0), 2 * first[layer], 2) << layer;
  }
  // What was measured goes with the entries, and is measured again.
  cache->Clear();
  ASSERT_TRUE(Prefill(*cache, 120, Attention()).ok());
  EXPECT_EQ(Held(*cache), first);
}

TEST_F(MeasuredSharesTest, WaitForAPromptOfWhichSomethingMustGo) {
  const auto cache = Open(Budget::Tokens(60));
  ASSERT_TRUE(cache->BeginPrefill(50).ok());
  EXPECT_FALSE(cache->measuring());
  ASSERT_TRUE(Prefill(*cache, 50, Attention()).ok());
  EXPECT_EQ(Held(*cache), (std::vector<int32_t>{50, 50, 50, 50}));
  const int64_t bound = cache->UsedBytesBound(50);
  ASSERT_TRUE(cache->Reserve(bound).ok());
  ASSERT_TRUE(cache->BeginPrefill(50).ok());
  EXPECT_TRUE(cache->measuring());
  ASSERT_TRUE(Prefill(*cache, 50, Attention()).ok());
  EXPECT_LT(cache->EntriesIn(0, 0), cache->EntriesIn(3, 0));
  EXPECT_EQ(Sum(Held(*cache)), 240);
  EXPECT_LE(cache->used_bytes(), bound);
}

TEST_F(MeasuredSharesTest, APromptGivenUpIsMeasuredAgain) {
  const auto cache = Open(Budget::Ratio(0.2));
  const auto twin = Open(Budget::Ratio(0.2));
  testing::PromptWorkspace workspace;
  ASSERT_TRUE(cache->BeginPrefill(80).ok());
  LayerPrompt* prompt = workspace.Prepare(*cache);
  cache->LoadLayer(0, prompt);
  EXPECT_EQ(cache->MeasureLayer(1, *prompt).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(cache->MeasureLayer(0, *prompt).ok());
  ASSERT_TRUE(Prefill(*cache, 120, Attention()).ok());
  ASSERT_TRUE(Prefill(*twin, 120, Attention()).ok());
  EXPECT_EQ(Held(*cache), Held(*twin));
  EXPECT_EQ(cache->MeasureLayer(0, *prompt).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(MeasuredSharesTest, AByteBudgetHoldsThroughout) {
  const int64_t page = PageBytesFor(kShape);
  const Budget budget = Budget::Bytes(page * kShape.kv_heads * (kShape.layers * 5 + 1));
  const auto cache = Open(budget);
  for (const int32_t tokens : {8, 30, 5, 90}) {
    ASSERT_TRUE(Prefill(*cache, tokens, Attention()).ok());
    EXPECT_LE(cache->used_bytes(), budget.bytes);
  }
}

}  // namespace
}  // namespace concertina
