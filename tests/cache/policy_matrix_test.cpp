// The contract every registered policy keeps, over budgets, lengths, shapes and entry types. A new
// policy is covered as soon as it is registered.

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "session_driver.h"

namespace concertina {
namespace {

using testing::Contents;
using testing::DecodeToken;
using testing::ElementWriter;
using testing::HeadContents;
using testing::MakePool;
using testing::PoliciesToTest;
using testing::PolicyOf;
using testing::Prefill;

struct Shape {
  CacheShape cache;
  EntryType type;
};

const Shape kShapes[] = {
    {{.layers = 1, .kv_heads = 1, .head_dim = 4}, EntryType::kF32},
    {{.layers = 4, .kv_heads = 2, .head_dim = 16}, EntryType::kBf16},
    {{.layers = 3, .kv_heads = 3, .head_dim = 64}, EntryType::kF32},
    {{.layers = 5, .kv_heads = 1, .head_dim = 64}, EntryType::kBf16},
    {{.layers = 4, .kv_heads = 2, .head_dim = 64}, EntryType::kInt8},
    {{.layers = 4, .kv_heads = 2, .head_dim = 64}, EntryType::kPacked},
};

std::vector<Budget> Budgets(CacheShape shape) {
  const int64_t page = PageBytesFor(shape);
  return {Budget::Ratio(0.01),
          Budget::Ratio(0.2),
          Budget::Ratio(0.5),
          Budget::Ratio(1.0),
          Budget::Tokens(1),
          Budget::Tokens(7),
          Budget::Tokens(100000),
          Budget::Bytes(1),
          Budget::Bytes(page * shape.kv_heads * (shape.layers * 4 + 1)),
          Budget::Bytes(page * shape.kv_heads * shape.layers * 1000)};
}

class MatrixTest : public ::testing::TestWithParam<std::string_view> {
 protected:
  // Every head of a layer holds the same number of entries, unless the policy splits heads,
  // distinct births, the first and the newest among them; their sum is what the budget grants.
  static void CheckHeld(const SessionCache& cache, const Policy& policy) {
    const CacheShape shape = cache.shape();
    int64_t pages = 0;
    for (int layer = 0; layer < shape.layers; ++layer) {
      for (int head = 0; head < shape.kv_heads; ++head) {
        const HeadContents held = Contents(cache, layer, head);
        if (!cache.policy().splits_heads()) {
          ASSERT_EQ(held.births.size(), static_cast<size_t>(cache.EntriesIn(layer, 0)));
        }
        ASSERT_EQ(held.births.front(), 0U);
        ASSERT_EQ(held.births.back(), cache.seen() - 1);
        ASSERT_TRUE(std::adjacent_find(held.births.begin(), held.births.end(),
                                       std::greater_equal<>()) == held.births.end());
        ASSERT_TRUE(std::all_of(held.masses.begin(), held.masses.end(),
                                [](uint16_t mass) { return mass >= 1; }));
        pages += cache.Head(layer, head).pages();
        if (cache.entry_type() != EntryType::kPacked) {
          ASSERT_EQ(cache.Head(layer, head).pages(),
                    cache.layout().PagesFor(cache.EntriesIn(layer, head)));
        }
      }
    }
    ASSERT_EQ(cache.used_bytes(), pages * cache.layout().page_bytes());
    if (policy.keeps_everything()) {
      ASSERT_EQ(cache.live_entries(), cache.seen() * shape.layers * shape.kv_heads);
    }
  }

  // Entries granted in all, computed from the definition.
  static int64_t Granted(const Budget& budget, const SessionCache& cache, int64_t held_before) {
    const CacheShape shape = cache.shape();
    const double gain = cache.layout().entries_per_bf16_entry();
    const double bf16 = budget.unit == Budget::Unit::kRatio
                            ? budget.ratio * static_cast<double>(cache.seen())
                            : static_cast<double>(budget.tokens);
    const auto n = static_cast<int64_t>(bf16 * gain);
    const int64_t per_head = std::max<int64_t>(2, n);
    return std::min(held_before, per_head * shape.layers * shape.kv_heads);
  }

  static void CheckBudget(const SessionCache& cache, int64_t held_before) {
    const Budget& budget = cache.budget();
    const CacheShape shape = cache.shape();
    if (cache.policy().keeps_everything()) {
      ASSERT_EQ(cache.live_entries(), held_before);
    } else if (budget.unit != Budget::Unit::kBytes && cache.entry_type() == EntryType::kPacked) {
      // Not more payload than so many rows, and hardly ever fewer entries.
      const int64_t granted = Granted(budget, cache, std::numeric_limits<int64_t>::max());
      ASSERT_LE(cache.payload_bytes(), granted * cache.layout().entry_payload_bytes());
      ASSERT_GE(cache.live_entries(), std::min(held_before, granted / 2));
    } else if (budget.unit != Budget::Unit::kBytes) {
      ASSERT_EQ(cache.live_entries(), Granted(budget, cache, held_before));
    } else {
      const int64_t floor = shape.layers * shape.kv_heads * cache.layout().page_bytes();
      ASSERT_LE(cache.used_bytes(), std::max(budget.bytes, floor));
    }
  }
};

TEST_P(MatrixTest, KeepsTheContract) {
  const auto policy = PolicyOf(GetParam());
  for (const Shape& shape : kShapes) {
    if (shape.type == EntryType::kPacked && (policy->merges() || policy->splits_heads())) continue;
    const auto pool = MakePool(200000, shape.cache);
    for (const Budget& budget : Budgets(shape.cache)) {
      for (const int32_t tokens : {1, 2, 3, 17, 90}) {
        SessionCache cache(pool.get(), shape.cache, shape.type, policy, budget,
                           policy->default_on_context_end());
        const int64_t heads = int64_t{shape.cache.layers} * shape.cache.kv_heads;
        for (int turn = 0; turn < 2; ++turn) {
          int64_t held = cache.live_entries();
          const absl::Status prefilled = Prefill(cache, tokens, ElementWriter(1));
          if (!prefilled.ok()) {  // only what drops nothing may refuse, and only a byte budget
            ASSERT_TRUE(policy->keeps_everything() && budget.unit == Budget::Unit::kBytes);
            ASSERT_EQ(prefilled.code(), absl::StatusCode::kFailedPrecondition);
            ASSERT_TRUE(cache.intact());
            break;
          }
          CheckHeld(cache, *policy);
          CheckBudget(cache, held + tokens * heads);
          cache.BeginDecode();
          for (int step = 0; step < 9; ++step) {
            held = cache.live_entries();
            if (!DecodeToken(cache, 1).ok()) {
              ASSERT_TRUE(policy->keeps_everything() && budget.unit == Budget::Unit::kBytes);
              ASSERT_EQ(cache.live_entries(), held);
              break;
            }
            CheckHeld(cache, *policy);
            CheckBudget(cache, held + heads);
          }
          cache.EndDecode();
          CheckHeld(cache, *policy);
        }
        ASSERT_EQ(pool->used_bytes(), cache.used_bytes());
      }
      ASSERT_EQ(pool->used_bytes(), 0);
      ASSERT_EQ(pool->reserved_bytes(), 0);
    }
  }
}

TEST_P(MatrixTest, IsAPureFunctionOfTheConversation) {
  const auto policy = PolicyOf(GetParam());
  const CacheShape shape{.layers = 4, .kv_heads = 2, .head_dim = 16};
  const auto pool = MakePool(20000, shape);
  const auto open = [&] {
    return std::make_unique<SessionCache>(pool.get(), shape, EntryType::kF32, policy,
                                          Budget::Ratio(0.3), OnContextEnd::kRebase);
  };
  const auto a = open();
  const auto b = open();
  // The same turns, but b's are interleaved with another session's and its pages lie elsewhere.
  const auto other = open();
  for (const int32_t tokens : {40, 3, 25}) {
    ASSERT_TRUE(Prefill(*a, tokens, ElementWriter(5)).ok());
    ASSERT_TRUE(Prefill(*other, tokens + 1, ElementWriter(6)).ok());
    ASSERT_TRUE(Prefill(*b, tokens, ElementWriter(5)).ok());
    a->BeginDecode();
    b->BeginDecode();
    other->BeginDecode();
    for (int step = 0; step < 12; ++step) {
      ASSERT_TRUE(DecodeToken(*a, 5).ok() && DecodeToken(*other, 6).ok() &&
                  DecodeToken(*b, 5).ok());
    }
    a->EndDecode();
    b->EndDecode();
    other->EndDecode();
  }
  for (int layer = 0; layer < shape.layers; ++layer) {
    for (int head = 0; head < shape.kv_heads; ++head) {
      const HeadContents in_a = Contents(*a, layer, head);
      const HeadContents in_b = Contents(*b, layer, head);
      EXPECT_EQ(in_a.births, in_b.births);
      EXPECT_EQ(in_a.k, in_b.k);
      EXPECT_EQ(in_a.v, in_b.v);
      EXPECT_EQ(in_a.scores, in_b.scores);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllPolicies, MatrixTest, ::testing::ValuesIn(PoliciesToTest()),
                         [](const auto& param) { return testing::TestName(param.param); });

}  // namespace
}  // namespace concertina
