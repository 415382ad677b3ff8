// Pins and turn folds in one session's cache: what is chosen, and what forks, rebases and byte caps
// make of it. What every policy must keep is in turn_matrix_test.cpp.

#include "cache/turn_rules.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "cache/anchors.h"
#include "cache/turn_selection.h"
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
using testing::PromptWorkspace;

using Indices = std::vector<int32_t>;

TEST(TurnRulesTest, KnowsWhatIsPinned) {
  TurnRules rules;
  EXPECT_TRUE(rules.none());
  EXPECT_EQ(rules.floor(), 2);
  rules.BeginTurn(0, {});
  EXPECT_TRUE(rules.none());
  rules.BeginTurn(20, std::vector<TokenSpan>{{22, 3}, {26, 1}});
  EXPECT_FALSE(rules.none());
  EXPECT_EQ(rules.floor(), 6);
  const std::vector<int64_t> pinned = {22, 23, 24, 26};
  for (int64_t birth = 0; birth < 40; ++birth) {
    EXPECT_EQ(rules.Pinned(birth), std::binary_search(pinned.begin(), pinned.end(), birth));
  }
  rules.Clear();
  EXPECT_TRUE(rules.none());
  rules.BeginTurn(0, std::vector<TokenSpan>{{0, 4}});
  EXPECT_EQ(rules.floor(), 5);  // the first is one of them
  EXPECT_FALSE(TurnRules(TurnFold::kFair).none());
}

BirthOf Births(const std::vector<int64_t>& births) {
  return [&births](int32_t index) { return births[index]; };
}

TEST(TurnSelectionTest, WithoutRulesKeepsWhatSelectAroundKeeps) {
  std::mt19937 random(7);
  for (int round = 0; round < 500; ++round) {
    const auto entries = static_cast<int32_t>(2 + random() % 40);
    std::vector<float> scores;
    std::vector<int64_t> births;
    for (int32_t i = 0; i < entries; ++i) {
      scores.push_back(random() % 7 == 0 ? NAN : static_cast<float>(random() % 9) - 4);
      births.push_back(i * 3);
    }
    const auto n = static_cast<int32_t>(2 + random() % static_cast<uint32_t>(entries - 1));
    const auto sinks = static_cast<int32_t>(1 + random() % 5);
    const auto recent = static_cast<int32_t>(1 + random() % 12);
    EXPECT_EQ(SelectByTurns(OrderKeys(scores, sinks, recent), Births(births), n, 3 * entries,
                            TurnRules()),
              SelectAround(scores, n, sinks, recent))
        << entries << " entries, " << n << " kept, " << sinks << " sinks, " << recent << " recent";
  }
}

// Two turns of ten tokens, the second half kept in parts already; higher scores are later.
struct TwoTurns {
  explicit TwoTurns(TurnFold fold) : rules(fold) {
    rules.BeginTurn(0, std::vector<TokenSpan>{{4, 2}});
    rules.BeginTurn(10, {});
    for (int64_t birth = 0; birth < 20; ++birth) {
      births.push_back(birth);
      scores.push_back(static_cast<float>(birth));
    }
  }
  Indices Select(int32_t keep) const {
    return SelectByTurns(OrderKeys(scores, 1, 1), Births(births), keep, 20, rules);
  }

  TurnRules rules;
  std::vector<int64_t> births;
  std::vector<float> scores;
};

TEST(TurnSelectionTest, ChoosesWithinItsTurns) {
  // 0, 4, 5 and 19 stay in any case.
  EXPECT_EQ(TwoTurns(TurnFold::kRefold).Select(7), (Indices{0, 4, 5, 16, 17, 18, 19}));
  EXPECT_EQ(TwoTurns(TurnFold::kFair).Select(8), (Indices{0, 4, 5, 8, 9, 17, 18, 19}));
  EXPECT_EQ(TwoTurns(TurnFold::kFair).Select(7), (Indices{0, 4, 5, 9, 17, 18, 19}));
  // 7 earlier ones besides: they leave nothing, but half of the fair part is the new turn's.
  EXPECT_EQ(TwoTurns(TurnFold::kIsolate).Select(12),
            (Indices{0, 2, 3, 4, 5, 6, 7, 8, 9, 17, 18, 19}));
  EXPECT_EQ(TwoTurns(TurnFold::kIsolate).Select(16),
            (Indices{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 15, 16, 17, 18, 19}));
  EXPECT_EQ(TwoTurns(TurnFold::kIsolate).Select(4), (Indices{0, 4, 5, 19}));
}

TEST(TurnSelectionTest, VictimsAreOfTheTurnThatHasTooMany) {
  const auto victims = [](TurnFold fold, int32_t cap) {
    const TwoTurns turns(fold);
    return VictimsByTurns(Births(turns.births), 20, cap, turns.rules);
  };
  const Indices earlier = {1, 2, 3, 6, 7, 8, 9};
  const Indices present = {10, 11, 12, 13, 14, 15, 16, 17, 18};
  Indices both = earlier;
  both.insert(both.end(), present.begin(), present.end());
  EXPECT_EQ(victims(TurnFold::kRefold, 19), both);
  EXPECT_EQ(victims(TurnFold::kIsolate, 19), present);
  EXPECT_EQ(victims(TurnFold::kFair, 19), present);  // 7 and 9 held, 7 and 8 due
  EXPECT_EQ(victims(TurnFold::kIsolate, 4), present);
}

// --- sessions

const CacheShape kShape{.layers = 6, .kv_heads = 2, .head_dim = 16};

std::unique_ptr<SessionCache> Open(PagePool* pool, std::string_view policy, Budget budget,
                                   TurnFold fold = TurnFold::kRefold) {
  return std::make_unique<SessionCache>(pool, kShape, EntryType::kBf16, PolicyOf(policy), budget,
                                        OnContextEnd::kRebase, fold);
}

bool Holds(const SessionCache& cache, uint32_t first, uint32_t count) {
  for (int at = 0; at < kShape.layers * kShape.kv_heads; ++at) {
    const HeadContents held = Contents(cache, at / kShape.kv_heads, at % kShape.kv_heads);
    const auto begin = std::find(held.births.begin(), held.births.end(), first);
    if (held.births.end() - begin < count || *(begin + count - 1) != first + count - 1) {
      return false;
    }
  }
  return true;
}

void Decode(SessionCache& cache, int tokens) {
  cache.BeginDecode();
  for (int i = 0; i < tokens; ++i) {
    ASSERT_TRUE(DecodeToken(cache, 1).ok());
  }
  cache.EndDecode();
}

TEST(PinTest, GoesWithForksAndRebasesAndEndsWithClear) {
  const auto pool = MakePool(5000, kShape);
  const auto cache = Open(pool.get(), "concertina", Budget::Tokens(20));
  ASSERT_TRUE(Prefill(*cache, 60, ElementWriter(1), nullptr, {{10, 12}}).ok());
  ASSERT_TRUE(Holds(*cache, 10, 12));
  auto fork = cache->Fork();
  ASSERT_TRUE(fork.ok());
  for (SessionCache* each : {cache.get(), fork->get()}) {
    ASSERT_TRUE(each->RebaseFor(10, 50, [](float*, int64_t) {}).ok());
    Decode(*each, 40);
    ASSERT_TRUE(Prefill(*each, 50, ElementWriter(1), nullptr, {{0, 3}}).ok());
    EXPECT_TRUE(Holds(*each, 10, 12));
    EXPECT_TRUE(Holds(*each, 100, 3));
    EXPECT_EQ(each->live_entries(), 20 * kShape.layers * kShape.kv_heads);
  }
  cache->Clear();
  EXPECT_EQ(cache->turn_rules().floor(), 2);
  ASSERT_TRUE(Prefill(*cache, 60, ElementWriter(1)).ok());
  EXPECT_FALSE(Holds(*cache, 10, 12));
  EXPECT_TRUE(Holds(**fork, 10, 12));
}

TEST(PinTest, OfAPrefillGivenUpIsForgotten) {
  const auto pool = MakePool(5000, kShape);
  const auto cache = Open(pool.get(), "concertina", Budget::Tokens(20));
  ASSERT_TRUE(Prefill(*cache, 60, ElementWriter(1)).ok());
  ASSERT_TRUE(cache->BeginPrefill(30, std::vector<TokenSpan>{{0, 10}}).ok());
  ASSERT_TRUE(Prefill(*cache, 40, ElementWriter(1)).ok());
  EXPECT_EQ(cache->turn_rules().floor(), 2);
  EXPECT_FALSE(Holds(*cache, 60, 10));
}

// Shallow layers have less than half of what deep ones have. Pins that take all of the budget make
// them equal, which shallow layers, folded first, must not do beyond the cap.
TEST(PinTest, ThatEvensLayersOutNeverPassesTheCapOnTheWay) {
  for (const Budget& budget :
       {Budget::Tokens(40),
        Budget::Bytes((kShape.layers * 10 + 1) * kShape.kv_heads * PageBytesFor(kShape))}) {
    const auto pool = MakePool(5000, kShape);
    const auto cache = Open(pool.get(), "concertina", budget);
    ASSERT_TRUE(Prefill(*cache, 200, ElementWriter(1)).ok());
    ASSERT_LT(cache->EntriesIn(0, 0) * 2, cache->EntriesIn(kShape.layers - 1, 0));
    const int64_t most =
        std::max(cache->used_bytes(), cache->effective_budget().bytes_used_at_shares);
    const auto parent = cache->Fork();  // evicting on the way must leave its pages alone
    ASSERT_TRUE(parent.ok());
    const HeadContents before = Contents(**parent, kShape.layers - 1, 1);
    ASSERT_TRUE(cache->Reserve(cache->UsedBytesBound(60)).ok());
    ASSERT_TRUE(cache->BeginPrefill(60, std::vector<TokenSpan>{{0, 38}}).ok());
    PromptWorkspace workspace;
    LayerPrompt* prompt = workspace.Prepare(*cache);
    for (int layer = 0; layer < kShape.layers; ++layer) {
      cache->LoadLayer(layer, prompt);
      ElementWriter(1)(*cache, layer, prompt);
      ASSERT_TRUE(cache->FoldLayer(layer, *prompt).ok());
      EXPECT_LE(cache->used_bytes(), most);
      EXPECT_EQ(cache->EntriesIn(layer, 0), 40);
    }
    cache->CommitPrefill();
    EXPECT_TRUE(Holds(*cache, 200, 38));
    Decode(*cache, 50);
    EXPECT_TRUE(Holds(*cache, 200, 38));
    EXPECT_LE(cache->used_bytes(), most);
    EXPECT_EQ(Contents(**parent, kShape.layers - 1, 1).births, before.births);
    EXPECT_EQ(Contents(**parent, kShape.layers - 1, 1).k, before.k);
  }
}

TEST(PinTest, EntriesAffordableIsWhatCanBeHeldEverywhere) {
  const auto pool = MakePool(5000, kShape);
  const auto cache = Open(pool.get(), "concertina", Budget::Tokens(5));
  const int64_t row = kShape.kv_heads * PageBytesFor(kShape);
  EXPECT_EQ(cache->EntriesAffordable(Budget::Ratio(0.25), 103), 25);
  EXPECT_EQ(cache->EntriesAffordable(Budget::Tokens(31), 10), 31);
  // One page per head is set aside.
  EXPECT_EQ(cache->EntriesAffordable(Budget::Bytes(row * (2 * kShape.layers + 1)), 10), 8);
  EXPECT_EQ(cache->EntriesAffordable(Budget::Bytes(row * (2 * kShape.layers + 1) - 1), 10), 4);
  EXPECT_EQ(cache->EntriesAffordable(Budget::Bytes(1), 10), 0);
  EXPECT_GT(Open(pool.get(), "full", Budget::Tokens(5))->EntriesAffordable(Budget::Bytes(1), 10),
            1'000'000'000);
}

// Under a budget that does not grow, earlier turns give way to half of the new one's fair part.
TEST(IsolateTest, UnderAFixedBudgetLeavesTheNewTurnHalfOfItsPart) {
  const auto pool = MakePool(5000, kShape);
  const auto cache = Open(pool.get(), "h2o", Budget::Tokens(42), TurnFold::kIsolate);
  ASSERT_TRUE(Prefill(*cache, 100, ElementWriter(1)).ok());
  ASSERT_TRUE(Prefill(*cache, 100, ElementWriter(1)).ok());
  const std::vector<uint32_t> births = Contents(*cache, 2, 1).births;
  const auto present = std::count_if(births.begin(), births.end(), [](auto b) { return b >= 100; });
  EXPECT_EQ(births.size(), 42U);
  EXPECT_EQ(present, 40 / 4 + 1);  // and the newest
}

// In a larger budget the earlier turn has what it had, and the rest is the new one's.
TEST(IsolateTest, ALargerBudgetIsTheNewTurns) {
  const auto pool = MakePool(5000, kShape);
  const auto cache = Open(pool.get(), "h2o", Budget::Tokens(12), TurnFold::kIsolate);
  ASSERT_TRUE(Prefill(*cache, 100, ElementWriter(1)).ok());
  const std::vector<uint32_t> before = Contents(*cache, 2, 1).births;
  ASSERT_TRUE(cache->SetBudget(Budget::Tokens(50)).ok());
  ASSERT_TRUE(Prefill(*cache, 100, ElementWriter(1)).ok());
  std::vector<uint32_t> after = Contents(*cache, 2, 1).births;
  EXPECT_EQ(after.size(), 50U);
  after.resize(before.size());
  EXPECT_EQ(after, before);
}

}  // namespace
}  // namespace concertina
