// What every policy keeps under pins and folds by turns, over budgets, shapes and entry types: the
// exact number of entries, every pinned one as it was, and of every turn what its rule says. A new
// policy is covered as soon as it is registered.

#include <gtest/gtest.h>

#include <algorithm>

#include "session_driver.h"

namespace concertina {
namespace {

using testing::Contents;
using testing::DecodeToken;
using testing::Element;
using testing::ElementWriter;
using testing::FoldPrompt;
using testing::HeadContents;
using testing::MakePool;
using testing::PoliciesToTest;
using testing::PolicyOf;
using testing::Prefill;
using testing::StoredError;

struct Shape {
  CacheShape cache;
  EntryType type;
};

const Shape kShapes[] = {
    {{.layers = 1, .kv_heads = 1, .head_dim = 4}, EntryType::kF32},
    {{.layers = 4, .kv_heads = 2, .head_dim = 16}, EntryType::kBf16},
    {{.layers = 5, .kv_heads = 3, .head_dim = 64}, EntryType::kInt8},
};

constexpr uint32_t kSession = 3;

// A conversation in which every turn but the second pins a part of its prompt.
struct Turn {
  int32_t tokens;
  std::vector<TokenSpan> pins;
};
const Turn kTurns[] = {
    {40, {{0, 5}, {30, 4}}}, {60, {}}, {7, {{2, 3}}}, {1, {{0, 1}}}, {25, {{1, 1}, {20, 5}}}};
constexpr int32_t kAnswer = 11;

class TurnMatrixTest : public ::testing::TestWithParam<std::string_view> {
 protected:
  static std::vector<Budget> Budgets(CacheShape shape) {
    const int64_t page = PageBytesFor(shape);
    return {Budget::Ratio(0.4), Budget::Ratio(1.0), Budget::Tokens(28),
            Budget::Bytes(page * shape.kv_heads * (shape.layers * 15 + 1))};
  }

  // Pinned entries are there, in every head, as they came.
  static void CheckPins(const SessionCache& cache, const std::vector<uint32_t>& pins) {
    const CacheShape shape = cache.shape();
    const float error = StoredError(cache.layout().type());
    for (int at = 0; at < shape.layers * shape.kv_heads; ++at) {
      const int layer = at / shape.kv_heads;
      const int head = at % shape.kv_heads;
      const HeadContents held = Contents(cache, layer, head);
      for (const uint32_t pin : pins) {
        const auto found = std::find(held.births.begin(), held.births.end(), pin);
        ASSERT_TRUE(found != held.births.end()) << pin;
        const auto i = found - held.births.begin();
        ASSERT_EQ(held.masses[i], 1);
        for (int64_t d = 0; d < shape.head_dim; ++d) {
          ASSERT_NEAR(held.k[i * shape.head_dim + d], Element(kSession, layer, head, pin, d, false),
                      error);
          ASSERT_NEAR(held.v[i * shape.head_dim + d], Element(kSession, layer, head, pin, d, true),
                      error);
        }
      }
    }
  }

  // As many entries as the budget grants, the first and the newest among them.
  static void CheckBudget(const SessionCache& cache, int64_t held_before) {
    const CacheShape shape = cache.shape();
    const int64_t heads = int64_t{shape.layers} * shape.kv_heads;
    const int64_t floor = cache.turn_rules().floor();
    for (int layer = 0; layer < shape.layers; ++layer) {
      for (int head = 0; head < shape.kv_heads; ++head) {
        const HeadContents held = Contents(cache, layer, head);
        if (!cache.policy().splits_heads()) {
          ASSERT_EQ(held.births.size(), static_cast<size_t>(cache.EntriesIn(layer, 0)));
        }
        ASSERT_EQ(held.births.front(), 0U);
        ASSERT_EQ(held.births.back(), cache.seen() - 1);
      }
    }
    if (cache.policy().keeps_everything()) {
      ASSERT_EQ(cache.live_entries(), held_before);
    } else if (cache.budget().unit == Budget::Unit::kBytes) {
      ASSERT_LE(cache.used_bytes(), cache.budget().bytes);
    } else {
      const int64_t n = cache.EntriesAffordable(cache.budget(), cache.seen());
      ASSERT_GE(n, floor) << "the pins of this test are meant to fit";
      ASSERT_EQ(cache.live_entries(), std::min(held_before, n * heads));
    }
  }

  static void CheckPictures(const SessionCache& cache, const std::vector<TokenSpan>& pictures) {
    const CacheShape shape = cache.shape();
    for (int at = 0; at < shape.layers * shape.kv_heads; ++at) {
      const HeadContents held = Contents(cache, at / shape.kv_heads, at % shape.kv_heads);
      for (const TokenSpan& picture : pictures) {
        int entries = 0, mass = 0;
        for (size_t i = 0; i < held.births.size(); ++i) {
          const int64_t place = held.births[i] - picture.first;
          if (place < 0 || place >= picture.count) continue;
          ++entries;
          mass += held.masses[i];
        }
        ASSERT_LE(entries, std::max<int64_t>(1, picture.count * 3 / 10));
        if (!cache.policy().merges()) {
          ASSERT_LE(mass, picture.count);
        }
      }
    }
  }

  static void HoldPictures(SessionCache& cache) {
    const CacheShape shape = cache.shape();
    const int64_t heads = int64_t{shape.layers} * shape.kv_heads;
    std::vector<TokenSpan> pictures;
    for (const TokenSpan& rows :
         {TokenSpan{4, 40}, TokenSpan{1, 25}, TokenSpan{}, TokenSpan{0, 7}}) {
      const int32_t tokens = 6 + static_cast<int32_t>(rows.first + rows.count);
      const int64_t over =
          rows.count > 0 ? rows.count - std::max<int64_t>(1, rows.count * 3 / 10) : 0;
      const int64_t held = cache.live_entries();
      std::vector<TokenSpan> of_turn;
      if (rows.count > 0) of_turn.push_back(rows);
      for (const TokenSpan& picture : of_turn) {
        pictures.push_back({cache.seen() + picture.first, picture.count});
      }
      ASSERT_TRUE(cache.BeginPrefill(tokens, {}, of_turn).ok());
      ASSERT_TRUE(FoldPrompt(cache, ElementWriter(kSession)).ok());
      ASSERT_NO_FATAL_FAILURE(CheckBudget(cache, held + (tokens - over) * heads));
      ASSERT_NO_FATAL_FAILURE(CheckPictures(cache, pictures));
      cache.BeginDecode();
      for (int step = 0; step < kAnswer; ++step) {
        const int64_t before = cache.live_entries();
        ASSERT_TRUE(DecodeToken(cache, kSession).ok());
        ASSERT_NO_FATAL_FAILURE(CheckBudget(cache, before + heads));
      }
      cache.EndDecode();
      ASSERT_NO_FATAL_FAILURE(CheckPictures(cache, pictures));
    }
  }

  static void Hold(SessionCache& cache) {
    const CacheShape shape = cache.shape();
    const int64_t heads = int64_t{shape.layers} * shape.kv_heads;
    std::vector<uint32_t> pins;
    for (const Turn& turn : kTurns) {
      for (const TokenSpan& pin : turn.pins) {
        for (int64_t i = 0; i < pin.count; ++i) {
          pins.push_back(static_cast<uint32_t>(cache.seen() + pin.first + i));
        }
      }
      const int64_t held = cache.live_entries();
      ASSERT_TRUE(Prefill(cache, turn.tokens, ElementWriter(kSession), nullptr, turn.pins).ok());
      ASSERT_NO_FATAL_FAILURE(CheckBudget(cache, held + turn.tokens * heads));
      ASSERT_NO_FATAL_FAILURE(CheckPins(cache, pins));
      cache.BeginDecode();
      for (int step = 0; step < kAnswer; ++step) {
        const int64_t before = cache.live_entries();
        ASSERT_TRUE(DecodeToken(cache, kSession).ok());
        ASSERT_NO_FATAL_FAILURE(CheckBudget(cache, before + heads));
      }
      cache.EndDecode();
      ASSERT_NO_FATAL_FAILURE(CheckPins(cache, pins));
    }
  }
};

TEST_P(TurnMatrixTest, KeepsPinsAndBudgetThroughFoldsAndSteps) {
  const PolicyOptions merging{.merge = MergeMode::kMean};
  const auto policy = PolicyOf(GetParam(), merging);
  if (!policy->follows_turn_rules()) {
    EXPECT_EQ(policy->name(), "official");
    return;
  }
  for (const Shape& shape : kShapes) {
    const auto pool = MakePool(200000, shape.cache);
    for (const Budget& budget : Budgets(shape.cache)) {
      for (const auto fold : {TurnFold::kRefold, TurnFold::kIsolate, TurnFold::kFair}) {
        if (policy->keeps_everything() && budget.unit == Budget::Unit::kBytes) {
          continue;  // refused, as without turn rules
        }
        if (policy->splits_heads() && fold != TurnFold::kRefold) {
          continue;  // refused
        }
        SessionCache cache(pool.get(), shape.cache, shape.type, policy, budget,
                           OnContextEnd::kRefuse, fold);
        ASSERT_NO_FATAL_FAILURE(Hold(cache))
            << shape.cache.layers << " layers, unit " << static_cast<int>(budget.unit) << ", fold "
            << static_cast<int>(fold);
      }
    }
    ASSERT_EQ(pool->used_bytes(), 0);
  }
}

// Under a ratio, what earlier turns kept is there after the fold of a later one, bit for bit, and
// what is left of the budget is the new turn's.
TEST_P(TurnMatrixTest, IsolatedTurnsLeaveEarlierOnesAlone) {
  const auto policy = PolicyOf(GetParam());
  if (!policy->follows_turn_rules() || policy->splits_heads()) {
    EXPECT_TRUE(policy->name() == "official" || policy->splits_heads());
    return;
  }
  for (const Shape& shape : kShapes) {
    const auto pool = MakePool(20000, shape.cache);
    SessionCache cache(pool.get(), shape.cache, shape.type, policy, Budget::Ratio(0.3),
                       OnContextEnd::kRefuse, TurnFold::kIsolate);
    ASSERT_TRUE(Prefill(cache, 50, ElementWriter(kSession)).ok());
    for (const int32_t tokens : {30, 70, 16}) {
      const auto seen = static_cast<uint32_t>(cache.seen());
      std::vector<HeadContents> before;
      for (int at = 0; at < shape.cache.layers * shape.cache.kv_heads; ++at) {
        before.push_back(Contents(cache, at / shape.cache.kv_heads, at % shape.cache.kv_heads));
      }
      ASSERT_TRUE(Prefill(cache, tokens, ElementWriter(kSession)).ok());
      for (int at = 0; at < shape.cache.layers * shape.cache.kv_heads; ++at) {
        HeadContents after = Contents(cache, at / shape.cache.kv_heads, at % shape.cache.kv_heads);
        const auto earlier =
            static_cast<size_t>(std::lower_bound(after.births.begin(), after.births.end(), seen) -
                                after.births.begin());
        EXPECT_LT(earlier, after.births.size());
        after.births.resize(earlier);
        after.k.resize(earlier * shape.cache.head_dim);
        after.v.resize(earlier * shape.cache.head_dim);
        EXPECT_EQ(after.births, before[at].births);
        EXPECT_EQ(after.k, before[at].k);
        EXPECT_EQ(after.v, before[at].v);
      }
    }
  }
}

// However different the entries are worth, every turn has its part by length.
TEST_P(TurnMatrixTest, FairTurnsShareByLength) {
  const auto policy = PolicyOf(GetParam());
  if (!policy->follows_turn_rules() || policy->keeps_everything() || policy->splits_heads()) {
    EXPECT_TRUE(policy->name() == "official" || policy->name() == "full" || policy->splits_heads());
    return;
  }
  const CacheShape shape{.layers = 1, .kv_heads = 2, .head_dim = 16};
  const auto pool = MakePool(20000, shape);
  SessionCache cache(pool.get(), shape, EntryType::kF32, policy, Budget::Tokens(42),
                     OnContextEnd::kRefuse, TurnFold::kFair);
  for (const int32_t tokens : {100, 60, 40}) {
    ASSERT_TRUE(Prefill(cache, tokens, ElementWriter(kSession)).ok());
  }
  const auto held_by_turn = [&](int head) {
    std::vector<int> held(3);
    for (const uint32_t birth : Contents(cache, 0, head).births) {
      ++held[birth < 100 ? 0 : birth < 160 ? 1 : 2];
    }
    return held;
  };
  // 40 beside the first and the newest: 20, 12 and 8.
  for (int head = 0; head < 2; ++head) {
    EXPECT_EQ(held_by_turn(head), (std::vector<int>{21, 12, 9}));
  }
  // The third turn grows to 140 of 300 tokens while it is answered.
  cache.BeginDecode();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(DecodeToken(cache, kSession).ok());
  }
  cache.EndDecode();
  for (int head = 0; head < 2; ++head) {
    const std::vector<int> held = held_by_turn(head);
    EXPECT_NEAR(held[0], 1 + 40.0 * 100 / 300, 1);
    EXPECT_NEAR(held[1], 40.0 * 60 / 300, 1);
    EXPECT_NEAR(held[2], 1 + 40.0 * 140 / 300, 1);
  }
}

// Pictures keep no more than their part, and all together as much as the budget grants.
TEST_P(TurnMatrixTest, HoldsPicturesToTheirBudgets) {
  const auto policy = PolicyOf(GetParam());
  if (!policy->follows_turn_rules() || policy->keeps_everything() || policy->splits_heads()) {
    EXPECT_TRUE(policy->name() == "official" || policy->name() == "full" || policy->splits_heads());
    return;
  }
  const RotateFn still = [](float*, int64_t) {};
  for (const Shape& shape : kShapes) {
    const auto pool = MakePool(200000, shape.cache);
    for (const Budget& budget : Budgets(shape.cache)) {
      for (const bool merge : {false, true}) {
        if (merge && policy->merges()) {
          continue;
        }
        SessionCache cache(pool.get(), shape.cache, shape.type, policy, budget,
                           OnContextEnd::kRefuse, TurnFold::kRefold, {.share = 0.3, .merge = merge},
                           still);
        ASSERT_NO_FATAL_FAILURE(HoldPictures(cache))
            << shape.cache.layers << " layers, unit " << static_cast<int>(budget.unit) << ", merge "
            << merge;
      }
    }
    ASSERT_EQ(pool->used_bytes(), 0);
  }
}

// Packed entries: of a head's births, in every head as many and within what is granted.
class PackedTurnsTest : public TurnMatrixTest {
 protected:
  static constexpr CacheShape kPackedShape{.layers = 3, .kv_heads = 2, .head_dim = 64};

  static std::vector<Budget> PackedBudgets() {
    const int64_t heads = int64_t{kPackedShape.layers} * kPackedShape.kv_heads;
    return {Budget::Ratio(0.15), Budget::Ratio(0.5), Budget::Tokens(28),
            Budget::Bytes(heads * 8 * PageBytesFor(kPackedShape))};
  }

  static void CheckHeads(const SessionCache& cache, const std::vector<uint32_t>& pins) {
    for (int at = 0; at < kPackedShape.layers * kPackedShape.kv_heads; ++at) {
      const int layer = at / kPackedShape.kv_heads;
      const HeadContents held = Contents(cache, layer, at % kPackedShape.kv_heads);
      ASSERT_EQ(held.births.size(), static_cast<size_t>(cache.EntriesIn(layer, 0)));
      ASSERT_EQ(held.births.front(), 0U);
      ASSERT_EQ(held.births.back(), cache.seen() - 1);
      ASSERT_TRUE(std::ranges::includes(held.births, pins)) << "layer " << layer;
    }
    const Budget& budget = cache.budget();
    if (budget.unit == Budget::Unit::kBytes) {
      ASSERT_LE(cache.used_bytes(), budget.bytes);
      return;
    }
    const int64_t rows =
        budget.unit == Budget::Unit::kTokens
            ? budget.tokens
            : static_cast<int64_t>(budget.ratio * static_cast<double>(cache.seen()));
    ASSERT_LE(cache.payload_bytes(), rows * kPackedShape.layers * kPackedShape.kv_heads *
                                         cache.layout().entry_payload_bytes());
    ASSERT_GE(cache.EntriesAffordable(budget, cache.seen()), cache.turn_rules().floor());
  }

  // What a head of the first layer holds of tokens before `end`.
  static std::vector<uint32_t> Earlier(const SessionCache& cache, int64_t end) {
    std::vector<uint32_t> births = Contents(cache, 0, 0).births;
    std::erase_if(births, [end](uint32_t birth) { return birth >= end; });
    return births;
  }

  static void HoldPacked(SessionCache& cache) {
    const Turn turns[] = {
        {200, {{0, 30}, {150, 15}}}, {300, {}}, {30, {{2, 10}}}, {1, {{0, 1}}}, {120, {{5, 20}}}};
    std::vector<uint32_t> pins;
    for (const Turn& turn : turns) {
      const int64_t seen = cache.seen();
      for (const TokenSpan& pin : turn.pins) {
        for (int64_t i = 0; i < pin.count; ++i) {
          pins.push_back(static_cast<uint32_t>(seen + pin.first + i));
        }
      }
      const std::vector<uint32_t> earlier = Earlier(cache, seen);
      ASSERT_TRUE(Prefill(cache, turn.tokens, ElementWriter(kSession), nullptr, turn.pins).ok());
      ASSERT_NO_FATAL_FAILURE(CheckHeads(cache, pins));
      if (cache.turn_rules().fold() == TurnFold::kIsolate &&
          cache.budget().unit == Budget::Unit::kRatio) {
        ASSERT_EQ(Earlier(cache, seen), earlier);
      }
      cache.BeginDecode();
      for (int step = 0; step < 40; ++step) {
        ASSERT_TRUE(DecodeToken(cache, kSession).ok());
        if (step % 8 != 0) continue;
        ASSERT_NO_FATAL_FAILURE(CheckHeads(cache, pins)) << "step " << step;
      }
      cache.EndDecode();
      ASSERT_NO_FATAL_FAILURE(CheckHeads(cache, pins));
    }
  }
};

TEST_P(PackedTurnsTest, KeepPinsAndBudgetThroughFoldsAndSteps) {
  const auto policy = PolicyOf(GetParam());
  if (!policy->follows_turn_rules() || policy->keeps_everything() || policy->splits_heads()) {
    EXPECT_TRUE(policy->name() == "official" || policy->name() == "full" || policy->splits_heads());
    return;
  }
  if (policy->merges()) return;  // and so has no packed entries
  const auto pool = MakePool(200000, kPackedShape);
  for (const Budget& budget : PackedBudgets()) {
    for (const auto fold : {TurnFold::kRefold, TurnFold::kIsolate, TurnFold::kFair}) {
      SessionCache cache(pool.get(), kPackedShape, EntryType::kPacked, policy, budget,
                         OnContextEnd::kRefuse, fold);
      ASSERT_NO_FATAL_FAILURE(HoldPacked(cache))
          << "unit " << static_cast<int>(budget.unit) << ", fold " << static_cast<int>(fold);
    }
  }
  ASSERT_EQ(pool->used_bytes(), 0);
}

INSTANTIATE_TEST_SUITE_P(AllPolicies, PackedTurnsTest, ::testing::ValuesIn(PoliciesToTest()),
                         [](const auto& param) { return testing::TestName(param.param); });

INSTANTIATE_TEST_SUITE_P(AllPolicies, TurnMatrixTest, ::testing::ValuesIn(PoliciesToTest()),
                         [](const auto& param) { return testing::TestName(param.param); });

}  // namespace
}  // namespace concertina
