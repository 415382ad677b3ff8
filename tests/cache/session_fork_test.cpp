// Forks: pages in common, and no way to see through them what the other one does.

#include <gtest/gtest.h>

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

constexpr CacheShape kShape{.layers = 4, .kv_heads = 2, .head_dim = 16};

void ExpectSame(const SessionCache& a, const SessionCache& b) {
  ASSERT_EQ(a.seen(), b.seen());
  ASSERT_EQ(a.next_position(), b.next_position());
  ASSERT_EQ(a.used_bytes(), b.used_bytes());
  for (int layer = 0; layer < kShape.layers; ++layer) {
    for (int head = 0; head < kShape.kv_heads; ++head) {
      const HeadContents in_a = Contents(a, layer, head);
      const HeadContents in_b = Contents(b, layer, head);
      ASSERT_EQ(in_a.births, in_b.births);
      ASSERT_EQ(in_a.k, in_b.k);
      ASSERT_EQ(in_a.v, in_b.v);
      ASSERT_EQ(in_a.masses, in_b.masses);
      ASSERT_EQ(in_a.scores, in_b.scores);
      ASSERT_EQ(a.Head(layer, head).entries_at_fold(), b.Head(layer, head).entries_at_fold());
    }
  }
}

void Turn(SessionCache& cache, uint32_t session, int32_t prompt, int answer) {
  ASSERT_TRUE(Prefill(cache, prompt, ElementWriter(session)).ok());
  cache.BeginDecode();
  for (int i = 0; i < answer; ++i) {
    ASSERT_TRUE(DecodeToken(cache, session).ok());
  }
  cache.EndDecode();
}

void Generate(SessionCache& cache, uint32_t session, int tokens) {
  cache.BeginDecode();
  for (int i = 0; i < tokens; ++i) {
    ASSERT_TRUE(DecodeToken(cache, session).ok());
  }
  cache.EndDecode();
}

struct ForkParam {
  std::string_view policy;
  EntryType type = EntryType::kBf16;
};

// Packed entries with every policy that can have them.
std::vector<ForkParam> ForkParams() {
  std::vector<ForkParam> params;
  for (const std::string_view name : testing::PoliciesToTest()) {
    params.push_back({name});
    const auto policy = PolicyOf(name);
    if (!policy->merges() && !policy->splits_heads()) params.push_back({name, EntryType::kPacked});
  }
  return params;
}

class ForkTest : public ::testing::TestWithParam<ForkParam> {
 protected:
  std::unique_ptr<SessionCache> Open(Budget budget = Budget::Ratio(0.4)) {
    return std::make_unique<SessionCache>(pool_.get(), kShape, GetParam().type,
                                          PolicyOf(GetParam().policy), budget,
                                          OnContextEnd::kRebase);
  }

  // Bytes of the pool beside `twins`, which no fork shares.
  int64_t UsedBeside(const std::vector<const SessionCache*>& twins) const {
    int64_t used = pool_->used_bytes();
    for (const SessionCache* twin : twins) {
      used -= twin->used_bytes();
    }
    return used;
  }

  std::unique_ptr<PagePool> pool_ = MakePool(6000, kShape);
};

TEST_P(ForkTest, TakesNoPageAndHoldsTheSame) {
  const auto parent = Open();
  ASSERT_NO_FATAL_FAILURE(Turn(*parent, 1, 50, 7));
  const int64_t used = pool_->used_bytes();
  const int64_t reserved = pool_->reserved_bytes();
  const auto fork = *parent->Fork();
  EXPECT_EQ(pool_->used_bytes(), used);
  EXPECT_EQ(pool_->reserved_bytes(), reserved);
  EXPECT_EQ(pool_->shared_bytes(), used);
  EXPECT_EQ(parent->shared_bytes(), used);
  EXPECT_EQ(fork->used_bytes(), used);
  EXPECT_EQ(fork->shared_bytes(), used);
  EXPECT_EQ(parent->reserved_bytes() + fork->reserved_bytes(), 0);
  ExpectSame(*parent, *fork);
}

TEST_P(ForkTest, DivergesWithoutATrace) {
  const auto parent = Open();
  const auto parent_twin = Open();
  const auto fork_twin = Open();
  for (SessionCache* cache : {parent.get(), parent_twin.get(), fork_twin.get()}) {
    ASSERT_NO_FATAL_FAILURE(Turn(*cache, 1, 50, 6));
  }
  const auto fork = *parent->Fork();
  const auto second = *fork->Fork();  // stays as it is
  const auto second_twin = *fork_twin->Fork();
  const auto play = [&](SessionCache& a, SessionCache& b, int turn) {
    ASSERT_NO_FATAL_FAILURE(Turn(a, 1, 9 + turn, 5));
    ASSERT_NO_FATAL_FAILURE(Turn(b, 2, 30 - 5 * turn, 11));
  };
  for (int turn = 0; turn < 4; ++turn) {
    ASSERT_NO_FATAL_FAILURE(play(*parent, *fork, turn));
    ASSERT_NO_FATAL_FAILURE(play(*parent_twin, *fork_twin, turn));
    ASSERT_NO_FATAL_FAILURE(ExpectSame(*parent, *parent_twin));
    ASSERT_NO_FATAL_FAILURE(ExpectSame(*fork, *fork_twin));
    ASSERT_NO_FATAL_FAILURE(ExpectSame(*second, *second_twin));
  }
}

// Decode without a prefill before it: the only pages of its own are those it copies.
TEST_P(ForkTest, GeneratingAtOnceCopiesBeforeItWrites) {
  const auto parent = Open();
  const auto twin = Open();
  ASSERT_NO_FATAL_FAILURE(Turn(*parent, 1, 50, 6));
  ASSERT_NO_FATAL_FAILURE(Turn(*twin, 1, 50, 6));
  const auto untouched = *twin->Fork();
  const auto fork = *parent->Fork();
  ASSERT_NO_FATAL_FAILURE(Generate(*fork, 2, 13));
  ASSERT_NO_FATAL_FAILURE(Generate(*twin, 2, 13));
  ASSERT_NO_FATAL_FAILURE(ExpectSame(*fork, *twin));
  ASSERT_NO_FATAL_FAILURE(ExpectSame(*parent, *untouched));
}

TEST_P(ForkTest, RotatedKeysAreItsOwn) {
  const auto parent = Open();
  ASSERT_NO_FATAL_FAILURE(Turn(*parent, 1, 50, 6));
  const HeadContents before = Contents(*parent, 2, 1);
  const auto fork = *parent->Fork();
  const RotateFn add = [](float* key, int64_t delta) { key[0] += static_cast<float>(delta); };
  ASSERT_TRUE(fork->SetBudget(Budget::Ratio(0.2)).ok());
  ASSERT_TRUE(Prefill(*fork, 4, ElementWriter(2)).ok());
  const auto second = *fork->Fork();
  const HeadContents in_fork = Contents(*fork, 2, 1);
  if (second->policy().positions_by_length()) {
    EXPECT_TRUE(second->RebaseFor(30, 80, add).ok());
    EXPECT_EQ(second->RebaseFor(75, 80, add).code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(Contents(*second, 2, 1).k, in_fork.k);
  } else if (second->RebaseFor(30, 80, add).ok()) {  // what keeps everything has no room to make
    EXPECT_LT(second->next_position(), fork->next_position());
    EXPECT_NE(Contents(*second, 2, 1).k, in_fork.k);
    EXPECT_EQ(second->shared_bytes(), 0);
  } else {
    EXPECT_TRUE(second->policy().keeps_everything());
  }
  EXPECT_EQ(Contents(*fork, 2, 1).k, in_fork.k);
  EXPECT_EQ(Contents(*parent, 2, 1).k, before.k);
}

TEST_P(ForkTest, OnlyBetweenTurns) {
  const auto parent = Open();
  ASSERT_NO_FATAL_FAILURE(Turn(*parent, 1, 20, 3));
  parent->BeginDecode();
  EXPECT_EQ(parent->Fork().status().code(), absl::StatusCode::kFailedPrecondition);
  parent->EndDecode();
  PromptWorkspace workspace;
  ASSERT_TRUE(parent->BeginPrefill(5).ok());
  EXPECT_TRUE(parent->Fork().ok());  // no layer folded yet
  LayerPrompt* prompt = workspace.Prepare(*parent);
  parent->LoadLayer(0, prompt);
  ASSERT_TRUE(parent->FoldLayer(0, *prompt).ok());
  EXPECT_EQ(parent->Fork().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_P(ForkTest, AReservedTurnNeverFindsThePoolEmpty) {
  const auto parent = Open();
  ASSERT_NO_FATAL_FAILURE(Turn(*parent, 1, 60, 2));
  const auto fork = *parent->Fork();
  const auto other = *parent->Fork();
  ASSERT_TRUE(fork->Reserve(fork->UsedBytesBound(40)).ok());
  // Another session takes all that is not promised.
  PageAccount greedy(pool_.get());
  std::vector<PageId> pages;
  while (greedy.Take(1, &pages).ok()) {
  }
  EXPECT_EQ(pool_->reserved_bytes(), pool_->capacity_bytes());
  EXPECT_EQ(Prefill(*other, 30, ElementWriter(3)).code(), absl::StatusCode::kResourceExhausted);
  ASSERT_NO_FATAL_FAILURE(Turn(*fork, 2, 30, 10));
  EXPECT_LE(fork->used_bytes(), fork->UsedBytesBound(0));
  greedy.Give(pages);
}

TEST_P(ForkTest, AByteBudgetCountsPagesInCommon) {
  const int64_t cap = 150 * pool_->page_bytes();
  const auto parent = Open(Budget::Bytes(cap));
  ASSERT_NO_FATAL_FAILURE(Turn(*parent, 1, 60, 3));
  const auto fork = *parent->Fork();
  for (int turn = 0; turn < 6; ++turn) {
    const absl::Status status = Prefill(*fork, 20, ElementWriter(2));
    ASSERT_LE(fork->used_bytes(), cap);
    if (!status.ok()) {  // what keeps everything is refused instead
      EXPECT_TRUE(fork->policy().keeps_everything());
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    }
  }
  EXPECT_LE(parent->used_bytes(), cap);
}

INSTANTIATE_TEST_SUITE_P(AllPolicies, ForkTest, ::testing::ValuesIn(ForkParams()),
                         [](const auto& param) {
                           const bool packed = param.param.type == EntryType::kPacked;
                           return testing::TestName(param.param.policy) + (packed ? "_packed" : "");
                         });

class FullForkTest : public ::testing::Test {
 protected:
  std::unique_ptr<SessionCache> Open(PagePool* pool) {
    return std::make_unique<SessionCache>(pool, kShape, EntryType::kBf16, PolicyOf("full"),
                                          Budget::Ratio(1.0), OnContextEnd::kRefuse);
  }
};

// 50 entries of a head: 12 full pages and two entries in the thirteenth.
TEST_F(FullForkTest, GoesOnSharingItsFullPages) {
  const auto pool = MakePool(6000, kShape);
  const int64_t page = pool->page_bytes();
  const auto parent = Open(pool.get());
  ASSERT_NO_FATAL_FAILURE(Turn(*parent, 1, 44, 6));
  ASSERT_EQ(pool->used_bytes(), 8 * 13 * page);
  std::vector<std::unique_ptr<SessionCache>> forks;
  for (uint32_t i = 0; i < 5; ++i) {
    forks.push_back(*parent->Fork());
    // Its turn needs to be promised only what it does not read from the parent.
    const int64_t before = pool->reserved_bytes();
    ASSERT_TRUE(forks.back()->Reserve(forks.back()->UsedBytesBound(16)).ok());
    EXPECT_LE(pool->reserved_bytes() - before, 8 * (1 + 5 + 1) * page);
    ASSERT_NO_FATAL_FAILURE(Turn(*forks.back(), 2 + i, 10, 6));
    EXPECT_LE(forks.back()->used_bytes() - forks.back()->shared_bytes(),
              forks.back()->reserved_bytes());
    ASSERT_TRUE(forks.back()->Reserve(0).ok());
    // 66 entries lie in 17 pages, 5 of them its own.
    EXPECT_EQ(forks.back()->used_bytes(), 8 * 17 * page);
    EXPECT_EQ(pool->used_bytes(), 8 * (13 + 5 * (i + 1)) * page);
  }
  // What a fork alone still holds is its own again from its next reservation on.
  const auto last = *forks.front()->Fork();
  forks.front()->Clear();
  EXPECT_EQ(last->shared_bytes(), last->used_bytes());
  ASSERT_TRUE(last->Reserve(0).ok());
  EXPECT_EQ(last->shared_bytes(), 8 * 12 * page);
  last->Clear();
  EXPECT_EQ(pool->used_bytes(), 8 * (13 + 5 * 4) * page);
  parent->Clear();  // the page that nobody shares any more goes
  EXPECT_EQ(pool->used_bytes(), 8 * (12 + 5 * 4) * page);
  forks.clear();
  EXPECT_EQ(pool->used_bytes() + pool->reserved_bytes() + pool->shared_bytes(), 0);
}

TEST_F(FullForkTest, PagesLackingForACopyLeaveBothAsTheyWere) {
  const auto pool = MakePool(8 * 3, kShape);
  const auto parent = Open(pool.get());
  ASSERT_NO_FATAL_FAILURE(Turn(*parent, 1, 9, 0));  // fills the pool, with room in its last pages
  const auto fork = *parent->Fork();
  fork->BeginDecode();
  EXPECT_EQ(DecodeToken(*fork, 2).code(), absl::StatusCode::kResourceExhausted);
  fork->EndDecode();
  ExpectSame(*parent, *fork);
  EXPECT_EQ(fork->shared_bytes(), pool->used_bytes());
  EXPECT_EQ(Prefill(*fork, 1, ElementWriter(2)).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(fork->intact());
  fork->Clear();
  // Alone again, the parent needs no copies.
  ASSERT_NO_FATAL_FAILURE(Generate(*parent, 1, 3));
  EXPECT_EQ(parent->shared_bytes(), 8 * 2 * pool->page_bytes());
  EXPECT_EQ(pool->used_bytes(), parent->used_bytes());
  EXPECT_EQ(pool->reserved_bytes(), parent->used_bytes());
}

TEST(ForkRebaseTest, WithoutPagesChangesNothing) {
  const auto pool = MakePool(8 * 3, kShape);
  SessionCache parent(pool.get(), kShape, EntryType::kBf16, PolicyOf("concertina"),
                      Budget::Tokens(8), OnContextEnd::kRebase);
  ASSERT_NO_FATAL_FAILURE(Turn(parent, 1, 40, 0));
  const auto fork = *parent.Fork();
  const RotateFn add = [](float* key, int64_t delta) { key[0] += static_cast<float>(delta); };
  EXPECT_EQ(fork->RebaseFor(30, 60, add).code(), absl::StatusCode::kResourceExhausted);
  ExpectSame(parent, *fork);
  EXPECT_EQ(fork->next_position(), 40);
  parent.Clear();
  EXPECT_TRUE(fork->RebaseFor(30, 60, add).ok());
  EXPECT_EQ(fork->shared_bytes(), 0);
}

}  // namespace
}  // namespace concertina
