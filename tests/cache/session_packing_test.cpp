// Sessions whose entries lie partly in packed groups.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "session_driver.h"

namespace concertina {
namespace {

using testing::Contents;
using testing::DecodeToken;
using testing::ElementWriter;
using testing::HeadContents;
using testing::MakePool;
using testing::PolicyOf;
using testing::Prefill;

constexpr CacheShape kShape{.layers = 3, .kv_heads = 2, .head_dim = 64};

class PackingTest : public ::testing::Test {
 protected:
  std::unique_ptr<SessionCache> Open(Budget budget, std::string_view policy = "concertina") {
    return std::make_unique<SessionCache>(pool_.get(), kShape, EntryType::kPacked, PolicyOf(policy),
                                          budget, OnContextEnd::kRebase);
  }
  void TearDown() override { EXPECT_EQ(pool_->used_bytes(), 0); }

  template <typename F>
  static void ForEachHead(F f) {
    for (int layer = 0; layer < kShape.layers; ++layer) {
      for (int head = 0; head < kShape.kv_heads; ++head) f(layer, head);
    }
  }
  static void Generate(SessionCache& cache, int tokens) {
    cache.BeginDecode();
    for (int i = 0; i < tokens; ++i) ASSERT_TRUE(DecodeToken(cache, 1).ok());
    cache.EndDecode();
  }
  static void HeadsAreEqual(const SessionCache& cache) {
    for (int layer = 0; layer < kShape.layers; ++layer) {
      ASSERT_EQ(cache.EntriesIn(layer, 0), cache.EntriesIn(layer, 1)) << "layer " << layer;
    }
  }
  static int64_t RowPayload(const SessionCache& cache) {
    return cache.seen() * kShape.layers * kShape.kv_heads * cache.layout().entry_payload_bytes();
  }
  // Largest error of a key and of a value, against what was written.
  static float WorstError(const SessionCache& cache, int layer, int head) {
    const HeadContents held = Contents(cache, layer, head);
    float worst = 0;
    for (size_t i = 0; i < held.births.size(); ++i) {
      for (int64_t d = 0; d < kShape.head_dim; ++d) {
        const size_t at = i * kShape.head_dim + d;
        worst = std::max(
            {worst,
             std::fabs(held.k[at] - testing::Element(1, layer, head, held.births[i], d, false)),
             std::fabs(held.v[at] - testing::Element(1, layer, head, held.births[i], d, true))});
      }
    }
    return worst;
  }

  std::unique_ptr<PagePool> pool_ = MakePool(60000, kShape);
};

TEST_F(PackingTest, AFifthOfTheBytesHoldsNearlyEverything) {
  const auto cache = Open(Budget::Ratio(0.2));
  ASSERT_TRUE(Prefill(*cache, 640, ElementWriter(1)).ok());
  EXPECT_LE(cache->payload_bytes(), RowPayload(*cache) / 5);
  EXPECT_GE(cache->payload_bytes(), RowPayload(*cache) * 18 / 100);
  EXPECT_GE(cache->live_entries(), 640 * kShape.layers * kShape.kv_heads * 9 / 10);
  EXPECT_LE(cache->used_bytes(), cache->payload_bytes() * 115 / 100);
  ForEachHead([&](int layer, int head) {
    // 2-bit values of [-1, 1): half of a third of 2, and scales are rounded up.
    EXPECT_LE(WorstError(*cache, layer, head), 0.5F * 2 / 3 * 1.13F);
  });
}

TEST_F(PackingTest, TheFirstAndTheNewestAreExact) {
  const auto cache = Open(Budget::Ratio(0.15));
  const auto check = [&] {
    ForEachHead([&](int layer, int head) {
      const HeadContents held = Contents(*cache, layer, head);
      const size_t last = held.births.size() - 1;
      ASSERT_EQ(held.births[last], cache->seen() - 1);
      for (int64_t d = 0; d < kShape.head_dim; ++d) {
        ASSERT_EQ(held.k[d], testing::Element(1, layer, head, 0, d, false));
        ASSERT_EQ(held.v[last * kShape.head_dim + d],
                  testing::Element(1, layer, head, held.births[last], d, true));
      }
    });
  };
  for (const int32_t tokens : {300, 40, 5}) {
    ASSERT_TRUE(Prefill(*cache, tokens, ElementWriter(1)).ok());
    check();
    ASSERT_NO_FATAL_FAILURE(Generate(*cache, 40));
    check();
  }
}

// What was just generated matters most to what comes next: the least of the prompt makes room.
TEST_F(PackingTest, TheNewestGeneratedTokensAreExact) {
  const auto cache = Open(Budget::Ratio(0.2));
  ASSERT_TRUE(Prefill(*cache, 400, ElementWriter(1)).ok());
  for (int token = 1; token <= 40; ++token) {
    ASSERT_NO_FATAL_FAILURE(Generate(*cache, 1));
    ASSERT_LE(cache->payload_bytes(), RowPayload(*cache) / 5);
    ForEachHead([&](int layer, int head) {
      const HeadContents held = Contents(*cache, layer, head);
      for (size_t back = 1; back <= static_cast<size_t>(std::min(token, 3)); ++back) {
        const size_t at = held.births.size() - back;
        ASSERT_EQ(held.births[at], cache->seen() - static_cast<int64_t>(back));
        for (int64_t d = 0; d < kShape.head_dim; ++d) {
          ASSERT_EQ(held.k[at * kShape.head_dim + d],
                    testing::Element(1, layer, head, held.births[at], d, false))
              << token << " back " << back;
        }
      }
    });
  }
}

// More budget than the entries take at any precision: everything is a row, and stays so.
TEST_F(PackingTest, EverythingIsExactWhereTheBudgetAllows) {
  const auto cache = Open(Budget::Ratio(1.0));
  ASSERT_TRUE(Prefill(*cache, 100, ElementWriter(1)).ok());
  ASSERT_NO_FATAL_FAILURE(Generate(*cache, 50));
  EXPECT_EQ(cache->live_entries(), 150 * kShape.layers * kShape.kv_heads);
  EXPECT_EQ(cache->payload_bytes(), RowPayload(*cache));
  ForEachHead([&](int layer, int head) { EXPECT_EQ(WorstError(*cache, layer, head), 0); });
}

// A later turn touches little of what stays at its precision: with a budget per token that grows as
// the conversation does, most entries of the first turn keep their bits over four turns. Those of
// the groups that had to make way for the new tokens' do not.
TEST_F(PackingTest, LaterFoldsRoundFewAgain) {
  const auto cache = Open(Budget::Ratio(0.2), "local");  // drops and raises the same every time
  ASSERT_TRUE(Prefill(*cache, 640, ElementWriter(1)).ok());
  std::map<std::pair<int, uint32_t>, std::vector<float>> before;
  const auto collect = [&](auto* into) {
    ForEachHead([&](int layer, int head) {
      const HeadContents held = Contents(*cache, layer, head);
      for (size_t i = 0; i < held.births.size(); ++i) {
        std::vector<float> kv(held.k.begin() + i * 64, held.k.begin() + (i + 1) * 64);
        kv.insert(kv.end(), held.v.begin() + i * 64, held.v.begin() + (i + 1) * 64);
        (*into)[{layer * kShape.kv_heads + head, held.births[i]}] = kv;
      }
    });
  };
  collect(&before);
  for (int turn = 0; turn < 4; ++turn) {
    ASSERT_TRUE(Prefill(*cache, 20, ElementWriter(1)).ok());
    ASSERT_NO_FATAL_FAILURE(Generate(*cache, 12));
  }
  std::map<std::pair<int, uint32_t>, std::vector<float>> after;
  collect(&after);
  int64_t kept = 0;
  int64_t same = 0;
  for (const auto& [entry, kv] : before) {
    const auto found = after.find(entry);
    if (found == after.end()) continue;
    ++kept;
    same += found->second == kv ? 1 : 0;
  }
  ASSERT_GT(kept, 3000);
  EXPECT_GT(same, kept / 2);
}

TEST_F(PackingTest, DecodeStaysWithinWhatIsGranted) {
  for (const double ratio : {0.05, 0.1, 0.2, 0.3, 0.6}) {
    const auto cache = Open(Budget::Ratio(ratio));
    ASSERT_TRUE(Prefill(*cache, 200, ElementWriter(1)).ok());
    cache->BeginDecode();
    for (int i = 0; i < 150; ++i) {
      ASSERT_TRUE(DecodeToken(*cache, 1).ok());
      const auto n =
          std::max<int64_t>(2, static_cast<int64_t>(ratio * static_cast<double>(cache->seen())));
      ASSERT_LE(cache->payload_bytes(), n * 256 * kShape.layers * kShape.kv_heads)
          << ratio << " " << i;
      ASSERT_NO_FATAL_FAILURE(HeadsAreEqual(*cache)) << ratio << " " << i;
    }
    cache->EndDecode();
    // Still far more entries than the payload holds as rows.
    EXPECT_GT(cache->live_entries() * 256, cache->payload_bytes() * (ratio < 0.25 ? 2 : 1));
  }
}

// A fixed number of tokens: every new one costs an old one its place.
TEST_F(PackingTest, AFixedBudgetIsHeldForALongAnswer) {
  const auto cache = Open(Budget::Tokens(40));
  ASSERT_TRUE(Prefill(*cache, 300, ElementWriter(1)).ok());
  const int64_t most = int64_t{40} * 256 * kShape.layers * kShape.kv_heads;
  cache->BeginDecode();
  for (int i = 0; i < 400; ++i) {
    ASSERT_TRUE(DecodeToken(*cache, 1).ok());
    ASSERT_LE(cache->payload_bytes(), most);
  }
  cache->EndDecode();
  EXPECT_GT(cache->live_entries() * 256, 3 * most);
  EXPECT_GT(cache->payload_bytes(), most * 8 / 10);
}

TEST_F(PackingTest, AByteBudgetIsNeverPassed) {
  for (const int64_t kib : {20, 40, 100, 200}) {
    const Budget budget = Budget::Bytes(kib << 10);
    const auto cache = Open(budget);
    for (const int32_t tokens : {200, 10, 90, 1}) {
      ASSERT_TRUE(Prefill(*cache, tokens, ElementWriter(1)).ok());
      ASSERT_LE(cache->used_bytes(), budget.bytes);
      cache->BeginDecode();
      for (int i = 0; i < 60; ++i) {
        ASSERT_TRUE(DecodeToken(*cache, 1).ok());
        ASSERT_LE(cache->used_bytes(), budget.bytes);
        ASSERT_NO_FATAL_FAILURE(HeadsAreEqual(*cache)) << i;
      }
      cache->EndDecode();
    }
    EXPECT_GE(cache->used_bytes(), std::min<int64_t>(budget.bytes * 7 / 10, 160 << 10)) << kib;
  }
}

TEST_F(PackingTest, BudgetsChangeBothWays) {
  const auto cache = Open(Budget::Ratio(0.4));
  ASSERT_TRUE(Prefill(*cache, 300, ElementWriter(1)).ok());
  cache->BeginDecode();
  const int64_t heads = kShape.layers * kShape.kv_heads;
  ASSERT_TRUE(cache->SetBudget(Budget::Ratio(0.1)).ok());
  ASSERT_TRUE(DecodeToken(*cache, 1).ok());
  EXPECT_LE(cache->payload_bytes(), 30 * 256 * heads);
  EXPECT_GE(cache->payload_bytes(), 22 * 256 * heads);
  ASSERT_TRUE(cache->SetBudget(Budget::Bytes(60 << 10)).ok());
  ASSERT_TRUE(DecodeToken(*cache, 1).ok());
  EXPECT_LE(cache->used_bytes(), 60 << 10);
  ASSERT_TRUE(cache->SetBudget(Budget::Ratio(0.5)).ok());
  const int64_t before = cache->live_entries();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(DecodeToken(*cache, 1).ok());
  cache->EndDecode();
  EXPECT_EQ(cache->live_entries(), before + 100 * heads) << "there is room for all of them";
  ASSERT_TRUE(cache->SetBudget(Budget::Tokens(20)).ok());
  ASSERT_TRUE(Prefill(*cache, 10, ElementWriter(1)).ok());
  EXPECT_LE(cache->payload_bytes(), 20 * 256 * heads);
}

TEST_F(PackingTest, ReservationsHoldWhateverHappens) {
  for (const Budget budget : {Budget::Ratio(0.2), Budget::Tokens(30), Budget::Bytes(50 << 10),
                              Budget::Ratio(0.7), Budget::Ratio(0.03)}) {
    const auto cache = Open(budget);
    for (const int32_t tokens : {150, 3, 60}) {
      const int64_t bound = cache->UsedBytesBound(tokens + 70);
      ASSERT_TRUE(cache->Reserve(bound).ok());
      ASSERT_TRUE(Prefill(*cache, tokens, ElementWriter(1)).ok());
      ASSERT_LE(cache->used_bytes(), bound);
      cache->BeginDecode();
      for (int i = 0; i < 70; ++i) {
        ASSERT_TRUE(DecodeToken(*cache, 1).ok());
        ASSERT_LE(cache->used_bytes(), bound);
        ASSERT_NO_FATAL_FAILURE(HeadsAreEqual(*cache)) << i;
      }
      cache->EndDecode();
    }
  }
}

TEST_F(PackingTest, AnAbandonedTokenLeavesNoTrace) {
  const auto cache = Open(Budget::Ratio(0.2));
  ASSERT_TRUE(Prefill(*cache, 200, ElementWriter(1)).ok());
  cache->BeginDecode();
  ASSERT_TRUE(DecodeToken(*cache, 1).ok());
  const int64_t entries = cache->live_entries();
  const std::vector<float> kv(kShape.kv_heads * 64, 0.5F);
  ASSERT_TRUE(cache->AppendToken(0, kv.data(), kv.data()).ok());
  cache->AbandonToken();
  EXPECT_EQ(cache->live_entries(), entries);
  ASSERT_TRUE(DecodeToken(*cache, 1).ok());
  cache->EndDecode();
}

TEST_F(PackingTest, ARebaseRotatesGroupsAsRows) {
  const auto cache = Open(Budget::Ratio(0.25));
  ASSERT_TRUE(Prefill(*cache, 400, ElementWriter(1)).ok());
  std::vector<HeadContents> before;
  ForEachHead([&](int layer, int head) { before.push_back(Contents(*cache, layer, head)); });
  // A rotation that can be undone by eye: adds the distance to the first element.
  const RotateFn add = [](float* key, int64_t delta) {
    key[0] += 0.001F * static_cast<float>(delta);
  };
  ASSERT_TRUE(cache->RebaseFor(100, 420, add).ok());
  size_t i = 0;
  ForEachHead([&](int layer, int head) {
    const HeadContents after = Contents(*cache, layer, head);
    const HeadContents& was = before[i++];
    ASSERT_EQ(after.births, was.births);
    ASSERT_EQ(after.v, was.v);
    for (size_t e = 0; e < after.births.size(); ++e) {
      const int64_t delta = cache->PositionOf(after.births[e]) - after.births[e];
      ASSERT_NEAR(after.k[e * 64], was.k[e * 64] + 0.001F * static_cast<float>(delta), 0.2F);
      ASSERT_NEAR(after.k[e * 64 + 1], was.k[e * 64 + 1], 1e-4F + 0.15F);
    }
  });
  ASSERT_NO_FATAL_FAILURE(Generate(*cache, 10));
}

}  // namespace
}  // namespace concertina
