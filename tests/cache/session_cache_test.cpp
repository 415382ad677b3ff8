#include "cache/session_cache.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "session_driver.h"

namespace concertina {
namespace {

using testing::Contents;
using testing::DecodeToken;
using testing::Element;
using testing::ElementWriter;
using testing::HeadContents;
using testing::MakePool;
using testing::PolicyOf;
using testing::Prefill;
using testing::PromptWorkspace;
using testing::StoredError;

class SessionCacheTest : public ::testing::Test {
 protected:
  std::unique_ptr<SessionCache> Open(Budget budget, std::string_view policy = "concertina",
                                     EntryType type = EntryType::kBf16) {
    return std::make_unique<SessionCache>(pool_.get(), shape_, type, PolicyOf(policy), budget,
                                          OnContextEnd::kRebase);
  }

  // Every live entry still has the K and V it was made with.
  void CheckOrigin(const SessionCache& cache, uint32_t session) {
    const float error = StoredError(cache.layout().type());
    for (int layer = 0; layer < shape_.layers; ++layer) {
      for (int head = 0; head < shape_.kv_heads; ++head) {
        const HeadContents held = Contents(cache, layer, head);
        for (size_t i = 0; i < held.births.size(); ++i) {
          for (int64_t d = 0; d < shape_.head_dim; ++d) {
            const size_t at = i * shape_.head_dim + d;
            ASSERT_NEAR(held.k[at], Element(session, layer, head, held.births[i], d, false), error);
            ASSERT_NEAR(held.v[at], Element(session, layer, head, held.births[i], d, true), error);
          }
        }
      }
    }
  }

  const CacheShape shape_{.layers = 4, .kv_heads = 2, .head_dim = 16};
  std::unique_ptr<PagePool> pool_ = MakePool(4000, shape_);
};

TEST_F(SessionCacheTest, SharesFollowTheSlopeAndAddUp) {
  const auto cache = Open(Budget::Ratio(0.25));
  ASSERT_TRUE(Prefill(*cache, 160, ElementWriter(1)).ok());
  // 40 x (2/3.5 .. 5/3.5): 22.86, 34.29, 45.71, 57.14; the two left over go to the deepest.
  const std::vector<int32_t> expected = {22, 34, 46, 58};
  for (int layer = 0; layer < 4; ++layer) {
    EXPECT_EQ(cache->EntriesIn(layer, 0), expected[layer]);
    EXPECT_EQ(cache->EntriesIn(layer, 1), expected[layer]);
  }
  EXPECT_EQ(cache->live_entries(), 40 * 4 * 2);
  EXPECT_EQ(cache->payload_bytes(), 320 * 64);
  EXPECT_EQ(cache->mass_represented(), 320);
  EXPECT_EQ(cache->effective_budget().shares, expected);
}

TEST_F(SessionCacheTest, EntriesKeepTheirContentThroughTurns) {
  for (const EntryType type : {EntryType::kBf16, EntryType::kF32, EntryType::kInt8}) {
    const auto a = Open(Budget::Ratio(0.3), "concertina", type);
    const auto b = Open(Budget::Tokens(9), "concertina", type);
    for (int turn = 0; turn < 5; ++turn) {
      ASSERT_TRUE(Prefill(*a, 30 + turn, ElementWriter(1)).ok());
      ASSERT_TRUE(Prefill(*b, 50 - turn, ElementWriter(2)).ok());
      a->BeginDecode();
      b->BeginDecode();
      for (int step = 0; step < 40; ++step) {
        ASSERT_TRUE(DecodeToken(*a, 1).ok());
        ASSERT_TRUE(DecodeToken(*b, 2).ok());
      }
      CheckOrigin(*a, 1);
      a->EndDecode();
      b->EndDecode();
      CheckOrigin(*a, 1);
      CheckOrigin(*b, 2);
    }
    EXPECT_EQ(pool_->used_bytes(), a->used_bytes() + b->used_bytes());
  }
}

TEST_F(SessionCacheTest, FoldReportsWhatItDid) {
  const auto cache = Open(Budget::Tokens(10));
  std::vector<FoldReport> folds;
  ASSERT_TRUE(Prefill(*cache, 50, ElementWriter(1), &folds).ok());
  folds.clear();
  const int64_t before = cache->EntriesIn(2, 0);
  ASSERT_TRUE(Prefill(*cache, 7, ElementWriter(1), &folds).ok());
  ASSERT_EQ(folds.size(), 4U);
  const FoldReport& fold = folds[2];
  EXPECT_EQ(fold.layer, 2);
  EXPECT_EQ(fold.entries_before, 2 * (before + 7));
  EXPECT_EQ(fold.entries_after, 2 * cache->EntriesIn(2, 0));
  EXPECT_EQ(fold.bytes_before, 2 * ((before + 7 + 3) / 4) * pool_->page_bytes());
  EXPECT_EQ(fold.bytes_after, 2 * ((cache->EntriesIn(2, 0) + 3) / 4) * pool_->page_bytes());
  double kept = 0;
  for (int head = 0; head < 2; ++head) {
    const HeadContents held = Contents(*cache, 2, head);
    kept = std::accumulate(held.scores.begin(), held.scores.end(), kept);
  }
  EXPECT_NEAR(fold.score_kept, kept, kept / 1000);
  EXPECT_DOUBLE_EQ(fold.mass_kept, fold.score_kept / fold.score_before);
  EXPECT_LT(fold.mass_kept, 1.0);
  EXPECT_GT(fold.mass_kept, 0.0);
}

TEST_F(SessionCacheTest, ScoresAccumulateOverTurnsAndDecode) {
  const auto cache = Open(Budget::Ratio(1.0));
  const auto add_one = [](const SessionCache&, int, LayerPrompt* prompt) {
    for (int64_t i = 0; i < prompt->capacity * 2; ++i) {
      prompt->score[i] += 1.0F;
    }
  };
  ASSERT_TRUE(Prefill(*cache, 3, add_one).ok());
  ASSERT_TRUE(Prefill(*cache, 2, add_one).ok());
  EXPECT_EQ(Contents(*cache, 1, 1).scores, (std::vector<float>{2, 2, 2, 1, 1}));
  cache->BeginDecode();
  cache->LiveScores(1, 1)[0] += 0.5F;
  cache->EndDecode();
  EXPECT_EQ(Contents(*cache, 1, 1).scores, (std::vector<float>{2.5, 2, 2, 1, 1}));
}

TEST_F(SessionCacheTest, AttentionIsWeighedByTheQueriesOfTheWholeConversation) {
  SessionCache cache(pool_.get(), shape_, EntryType::kF32, PolicyOf("concertina", {.slope_r = 1.0}),
                     Budget::Ratio(1.0), OnContextEnd::kRebase);
  const auto set = [](std::vector<float> scores) {
    return [scores = std::move(scores)](const SessionCache&, int, LayerPrompt* prompt) {
      for (int64_t at = 0; at < prompt->capacity * 2; ++at) {
        const auto i = static_cast<size_t>(at % prompt->capacity);
        prompt->score[at] = i < scores.size() ? scores[i] : 0.0F;
        std::fill_n(prompt->v + at * 16, 16, 1.0F);
      }
    };
  };
  ASSERT_TRUE(Prefill(cache, 4, set({0, 1, 1, 0})).ok());
  ASSERT_TRUE(cache.SetBudget(Budget::Tokens(3)).ok());
  // Seen by 8 - birth queries: 7/7, 5.5/6, 0, 0, 3.5/3 (the best), 1/2.
  ASSERT_TRUE(Prefill(cache, 4, set({0, 7, 5.5, 0, 0, 3.5, 1, 0})).ok());
  EXPECT_EQ(cache.EntriesIn(1, 0), 3);
  EXPECT_EQ(Contents(cache, 1, 0).births, (std::vector<uint32_t>{0, 5, 7}));
}

TEST_F(SessionCacheTest, ScoresFollowTheirEntriesWhenOthersAreEvicted) {
  const auto cache = Open(Budget::Tokens(8), "elastic", EntryType::kF32);
  const auto by_birth = [](const SessionCache&, int, LayerPrompt* prompt) {
    for (int64_t i = 0; i < prompt->capacity * 2; ++i) {
      prompt->score[i] = static_cast<float>(prompt->birth[i] + 1);
    }
  };
  ASSERT_TRUE(Prefill(*cache, 8, by_birth).ok());
  cache->BeginDecode();
  const std::vector<float> row(32, 0.5F);
  for (int step = 0; step < 5; ++step) {
    for (int layer = 0; layer < 4; ++layer) {
      ASSERT_TRUE(cache->AppendToken(layer, row.data(), row.data()).ok());
      for (int head = 0; head < 2; ++head) {
        cache->LiveScores(layer, head)[8] = static_cast<float>(cache->seen() + 1);
      }
      EXPECT_EQ(cache->EvictLayer(layer), 2);
    }
    cache->CommitToken();
  }
  cache->EndDecode();
  const HeadContents held = Contents(*cache, 2, 1);
  EXPECT_EQ(held.births, (std::vector<uint32_t>{0, 6, 7, 8, 9, 10, 11, 12}));
  EXPECT_EQ(held.scores, (std::vector<float>{1, 7, 8, 9, 10, 11, 12, 13}));
}

TEST_F(SessionCacheTest, LoadLayerGathersInBirthOrderAfterEvictions) {
  const auto cache = Open(Budget::Tokens(8));
  ASSERT_TRUE(Prefill(*cache, 30, ElementWriter(1)).ok());
  cache->BeginDecode();
  for (int step = 0; step < 25; ++step) {
    ASSERT_TRUE(DecodeToken(*cache, 1).ok());
  }
  ASSERT_TRUE(cache->BeginPrefill(4).ok());  // ends the decode
  EXPECT_FALSE(cache->decoding());
  PromptWorkspace workspace;
  LayerPrompt* prompt = workspace.Prepare(*cache);
  cache->LoadLayer(3, prompt);
  EXPECT_EQ(prompt->old_entries, cache->EntriesIn(3, 0));
  EXPECT_EQ(prompt->new_entries, 4);
  for (int head = 0; head < 2; ++head) {
    const int64_t row = head * prompt->capacity;
    for (int32_t i = 1; i < prompt->entries(); ++i) {
      EXPECT_GT(prompt->birth[row + i], prompt->birth[row + i - 1]);
    }
    for (int32_t i = 0; i < prompt->old_entries; ++i) {
      EXPECT_EQ(prompt->k[(row + i) * 16 + 5],
                Element(1, 3, head, prompt->birth[row + i], 5, false));
    }
    for (int32_t i = 0; i < 4; ++i) {
      EXPECT_EQ(prompt->birth[row + prompt->old_entries + i], 55U + i);
      EXPECT_EQ(prompt->score[row + prompt->old_entries + i], 0.0F);
      EXPECT_EQ(prompt->mass[row + prompt->old_entries + i], 1);
    }
  }
}

TEST_F(SessionCacheTest, NeverUsesMoreThanBeforeOrAfterWhileFolding) {
  const auto cache = Open(Budget::Ratio(0.5));
  ASSERT_TRUE(Prefill(*cache, 100, ElementWriter(1)).ok());
  ASSERT_TRUE(cache->SetBudget(Budget::Ratio(0.1)).ok());
  const int64_t before = cache->used_bytes();
  ASSERT_TRUE(cache->BeginPrefill(40).ok());
  PromptWorkspace workspace;
  LayerPrompt* prompt = workspace.Prepare(*cache);
  int64_t used = before;
  for (int layer = 0; layer < 4; ++layer) {
    cache->LoadLayer(layer, prompt);
    ASSERT_TRUE(cache->FoldLayer(layer, *prompt).ok());
    EXPECT_LT(cache->used_bytes(), used);  // this layer's pages are free at once
    used = cache->used_bytes();
    EXPECT_EQ(pool_->used_bytes(), used);
  }
  cache->CommitPrefill();
  EXPECT_EQ(cache->live_entries(), 14 * 4 * 2);
}

TEST_F(SessionCacheTest, AnAbandonedPrefillIsNoticed) {
  const auto cache = Open(Budget::Ratio(0.5));
  ASSERT_TRUE(Prefill(*cache, 20, ElementWriter(1)).ok());
  PromptWorkspace workspace;
  ASSERT_TRUE(cache->BeginPrefill(10).ok());
  LayerPrompt* prompt = workspace.Prepare(*cache);
  cache->LoadLayer(0, prompt);
  // Given up before the first fold: nothing has changed.
  EXPECT_TRUE(cache->intact());
  ASSERT_TRUE(cache->BeginPrefill(5).ok());
  prompt = workspace.Prepare(*cache);
  cache->LoadLayer(0, prompt);
  EXPECT_FALSE(cache->FoldLayer(1, *prompt).ok());  // out of order
  EXPECT_TRUE(cache->intact());
  ASSERT_TRUE(cache->FoldLayer(0, *prompt).ok());
  EXPECT_FALSE(cache->intact());
  EXPECT_EQ(cache->BeginPrefill(5).code(), absl::StatusCode::kFailedPrecondition);
  cache->Clear();
  EXPECT_TRUE(cache->intact());
  EXPECT_EQ(cache->seen(), 0);
  EXPECT_EQ(pool_->used_bytes(), 0);
  EXPECT_TRUE(Prefill(*cache, 20, ElementWriter(1)).ok());
  CheckOrigin(*cache, 1);
}

TEST_F(SessionCacheTest, AnAbandonedTokenIsTakenBack) {
  const auto small = MakePool(2 * 4 * 3 + 3, shape_);
  SessionCache cache(small.get(), shape_, EntryType::kBf16, PolicyOf("full"), Budget::Ratio(1.0),
                     OnContextEnd::kRefuse);
  ASSERT_TRUE(Prefill(cache, 12, ElementWriter(1)).ok());  // fills 3 pages of every head
  cache.BeginDecode();
  const int64_t used = cache.used_bytes();
  EXPECT_EQ(DecodeToken(cache, 1).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(cache.used_bytes(), used);
  EXPECT_EQ(cache.seen(), 12);
  EXPECT_EQ(cache.live_entries(), 12 * 8);
  cache.EndDecode();
  CheckOrigin(cache, 1);
}

TEST_F(SessionCacheTest, AFoldWithoutPagesLosesTheCacheButNotTheLedger) {
  const auto small = MakePool(20, shape_);
  SessionCache cache(small.get(), shape_, EntryType::kBf16, PolicyOf("full"), Budget::Ratio(1.0),
                     OnContextEnd::kRefuse);
  EXPECT_EQ(Prefill(cache, 13, ElementWriter(1)).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(cache.intact());
  EXPECT_EQ(small->used_bytes(), cache.used_bytes());
  cache.Clear();
  EXPECT_EQ(small->used_bytes(), 0);
  EXPECT_TRUE(Prefill(cache, 8, ElementWriter(1)).ok());
}

TEST_F(SessionCacheTest, AReservationIsHeldAndEnforced) {
  {
    const auto cache = Open(Budget::Ratio(1.0), "full");
    ASSERT_TRUE(cache->Reserve(cache->UsedBytesBound(20)).ok());
    EXPECT_EQ(pool_->reserved_bytes(), cache->reserved_bytes());
    ASSERT_TRUE(Prefill(*cache, 10, ElementWriter(1)).ok());
    cache->BeginDecode();
    for (int step = 0; step < 10; ++step) {
      ASSERT_TRUE(DecodeToken(*cache, 1).ok());
    }
    EXPECT_LE(cache->used_bytes(), cache->reserved_bytes());
    absl::Status status;
    for (int step = 0; step < 40 && status.ok(); ++step) {
      status = DecodeToken(*cache, 1);
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(cache->Reserve(pool_->capacity_bytes() + 1).code(),
              absl::StatusCode::kResourceExhausted);
  }
  EXPECT_EQ(pool_->reserved_bytes(), 0);
}

TEST_F(SessionCacheTest, BudgetsChangeLiveBothWays) {
  const auto cache = Open(Budget::Ratio(0.5));
  ASSERT_TRUE(Prefill(*cache, 100, ElementWriter(1)).ok());
  EXPECT_EQ(cache->SetBudget(Budget::Ratio(2.0)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(cache->budget().ratio, 0.5);
  cache->BeginDecode();
  ASSERT_TRUE(cache->SetBudget(Budget::Ratio(0.1)).ok());
  EXPECT_EQ(cache->live_entries(), 50 * 8);  // from the next step on
  ASSERT_TRUE(DecodeToken(*cache, 1).ok());
  EXPECT_EQ(cache->live_entries(), 10 * 8);
  ASSERT_TRUE(cache->SetBudget(Budget::Ratio(1.0)).ok());
  ASSERT_TRUE(DecodeToken(*cache, 1).ok());
  EXPECT_EQ(cache->live_entries(), 11 * 8);  // what is gone stays gone
  const int64_t bytes = 30 * pool_->page_bytes();
  ASSERT_TRUE(Prefill(*cache, 60, ElementWriter(1)).ok());
  EXPECT_EQ(cache->live_entries(), 71 * 8);
  ASSERT_TRUE(cache->SetBudget(Budget::Bytes(bytes)).ok());
  cache->BeginDecode();
  ASSERT_TRUE(DecodeToken(*cache, 1).ok());
  EXPECT_LE(cache->used_bytes(), bytes);
  cache->EndDecode();
  CheckOrigin(*cache, 1);
}

// Prefills and decodes; the cap holds after every single call.
void RunWithinCap(SessionCache& cache, int64_t cap, int32_t tokens) {
  const CacheShape shape = cache.shape();
  ASSERT_TRUE(cache.BeginPrefill(tokens).ok());
  PromptWorkspace workspace;
  LayerPrompt* prompt = workspace.Prepare(cache);
  for (int layer = 0; layer < shape.layers; ++layer) {
    cache.LoadLayer(layer, prompt);
    ElementWriter(3)(cache, layer, prompt);
    ASSERT_TRUE(cache.FoldLayer(layer, *prompt).ok());
    ASSERT_LE(cache.used_bytes(), cap);
  }
  cache.CommitPrefill();
  cache.BeginDecode();
  const std::vector<float> row(static_cast<size_t>(shape.kv_heads * shape.head_dim), 0.5F);
  for (int step = 0; step < 40; ++step) {
    for (int layer = 0; layer < shape.layers; ++layer) {
      ASSERT_TRUE(cache.AppendToken(layer, row.data(), row.data()).ok());
      ASSERT_LE(cache.used_bytes(), cap) << "step " << step;
      cache.EvictLayer(layer);
      ASSERT_LE(cache.used_bytes(), cap) << "step " << step;
    }
    cache.CommitToken();
  }
  cache.EndDecode();
}

TEST_F(SessionCacheTest, AByteBudgetIsNeverPassedNotEvenInsideAStep) {
  // With a slope below 1 the layers that grow come before those that shrink.
  for (const double slope_r : {2.5, 0.5}) {
    for (int64_t pages = 10; pages < 90; ++pages) {
      const int64_t cap = pages * pool_->page_bytes();
      SessionCache cache(pool_.get(), shape_, pages % 2 == 0 ? EntryType::kBf16 : EntryType::kF32,
                         PolicyOf("concertina", {.slope_r = slope_r}), Budget::Bytes(cap),
                         OnContextEnd::kRebase);
      for (const int32_t tokens : {3, 8, 40, 1, 200}) {
        ASSERT_NO_FATAL_FAILURE(RunWithinCap(cache, cap, tokens)) << "pages " << pages;
      }
    }
  }
}

TEST_F(SessionCacheTest, BadCallsAreRefused) {
  const auto cache = Open(Budget::Ratio(0.5));
  EXPECT_EQ(cache->BeginPrefill(0).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(cache->BeginPrefill(-4).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(cache->BeginPrefill(INT32_MAX).code(), absl::StatusCode::kFailedPrecondition);
  const std::vector<float> row(32);
  EXPECT_EQ(cache->AppendToken(0, row.data(), row.data()).code(),
            absl::StatusCode::kFailedPrecondition);  // not decoding
  LayerPrompt prompt;
  EXPECT_EQ(cache->FoldLayer(0, prompt).status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(Prefill(*cache, 5, ElementWriter(1)).ok());
  cache->BeginDecode();
  EXPECT_EQ(cache->AppendToken(1, row.data(), row.data()).code(),
            absl::StatusCode::kFailedPrecondition);  // layer 0 first
  cache->EndDecode();
  cache->EndDecode();
}

}  // namespace
}  // namespace concertina
