// Random sessions, budgets, turns, forks, rebases, cancels and closes against a simple model of the
// pool: after every operation the pool's used bytes are the sessions' to the byte, a page in common
// counted once, every layer is within its share and every session within its budget; when all are
// closed, in any order, nothing is left.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <random>

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

// What a session should hold, kept without looking at it: entries per layer.
struct Model {
  std::vector<int32_t> entries;
  int64_t seen = 0;
  bool broken = false;  // a prefill was abandoned half way
};

struct Session {
  std::unique_ptr<SessionCache> cache;
  Model model;
  uint32_t id;
  // Whose entries these are: (birth from which on, session id), oldest first. A fork has its
  // parent's up to where it forked.
  std::vector<std::pair<int64_t, uint32_t>> origins;
  std::vector<uint32_t> pins;  // births, ascending
};

// Sessions are refused pins that their budget does not hold, and budgets that do not hold their
// pins.
bool Fits(const Session& session, int64_t more_pins, const Budget& budget, int64_t seen) {
  const int64_t pinned = static_cast<int64_t>(session.pins.size()) + more_pins;
  return pinned == 0 ||
         FloorWithPins(pinned, false) <= session.cache->EntriesAffordable(budget, seen);
}

class PoolPropertyTest : public ::testing::TestWithParam<int32_t> {
 protected:
  PoolPropertyTest()
      : shape_{.layers = 3, .kv_heads = 2, .head_dim = GetParam()},
        pool_(MakePool(kPoolPages, shape_)),
        seed_(SeedFromEnvironment()),
        random_(seed_ + static_cast<uint32_t>(GetParam())) {}

  static uint32_t SeedFromEnvironment() {
    const char* seed = std::getenv("CONCERTINA_SEED");
    return seed != nullptr ? static_cast<uint32_t>(std::strtoul(seed, nullptr, 10))
                           : std::random_device{}();
  }

  uint32_t Below(uint32_t n) { return static_cast<uint32_t>(random_() % n); }

  Budget RandomBudget() {
    switch (Below(3)) {
      case 0:
        return Budget::Ratio((1 + Below(100)) / 100.0);
      case 1:
        return Budget::Tokens(1 + Below(60));
      default:
        return Budget::Bytes((1 + Below(120)) * pool_->page_bytes() + Below(500));
    }
  }

  void Open() {
    const auto names = PolicyNames();
    const std::string_view name = names[Below(static_cast<uint32_t>(names.size()))];
    const auto policy = PolicyOf(name, {.merge = MergeMode::kNone});
    const auto type = static_cast<EntryType>(Below(3));
    const auto fold =
        policy->follows_turn_rules() ? static_cast<TurnFold>(Below(3)) : TurnFold::kRefold;
    Session session{
        .cache = std::make_unique<SessionCache>(pool_.get(), shape_, type, policy, RandomBudget(),
                                                OnContextEnd::kRebase, fold),
        .model = {.entries = std::vector<int32_t>(shape_.layers, 0)},
        .id = next_id_++};
    session.origins = {{0, session.id}};
    sessions_.push_back(std::move(session));
  }

  // Between turns a session has no reservation and forking cannot fail; with one the pages in
  // common must be promised on top.
  void Fork(size_t parent) {
    SessionCache& cache = *sessions_[parent].cache;
    const bool reserve = Below(3) == 0 && cache.Reserve(cache.UsedBytesBound(Below(40))).ok();
    absl::StatusOr<std::unique_ptr<SessionCache>> forked = cache.Fork();
    if (!forked.ok()) {
      const bool exhausted = forked.status().code() == absl::StatusCode::kResourceExhausted;
      ASSERT_TRUE(exhausted ? reserve : sessions_[parent].model.broken) << forked.status();
      ASSERT_NO_FATAL_FAILURE(Check(false));
    } else {
      ASSERT_EQ((*forked)->reserved_bytes(), 0);
      Session fork{.cache = *std::move(forked), .model = sessions_[parent].model, .id = next_id_++};
      fork.origins = sessions_[parent].origins;
      fork.pins = sessions_[parent].pins;
      fork.origins.emplace_back(fork.model.seen, fork.id);
      sessions_.push_back(std::move(fork));
    }
    ASSERT_TRUE(cache.Reserve(0).ok());
  }

  // Every key is written to, though none changes.
  void Rebase(Session& session) {
    SessionCache& cache = *session.cache;
    if (session.model.broken || session.model.seen == 0) {
      return;
    }
    const bool reserve = Below(2) == 0 && cache.Reserve(cache.UsedBytesBound(0)).ok();
    const absl::Status status =
        cache.RebaseFor(2, std::max<int64_t>(4, cache.next_position()), [](float*, int64_t) {});
    ASSERT_FALSE(reserve && status.code() == absl::StatusCode::kResourceExhausted)
        << status << " seed " << seed_;
    ASSERT_TRUE(cache.Reserve(0).ok());
  }

  void Forget(Session& session) {
    session.pins.clear();
    session.cache->Clear();
    session.model = {.entries = std::vector<int32_t>(shape_.layers, 0)};
    session.origins = {{0, session.id}};
  }

  // Shares by the session's policy for what the model says it holds.
  std::vector<int32_t> Shares(const Session& session, int64_t seen, int32_t more) const {
    std::vector<int32_t> holds = session.model.entries;
    for (int32_t& held : holds) {
      held += more;
    }
    if (session.cache->policy().keeps_everything()) {
      return holds;
    }
    return ResolveBudget(session.cache->budget(), seen, session.cache->layer_split(), holds,
                         session.cache->layout(), shape_)
        .shares;
  }

  // After a fold or a step: exact shares; byte budgets may fall short of them while layers change
  // over.
  void Settle(Session& session, const std::vector<int32_t>& shares) {
    const bool bytes = session.cache->budget().unit == Budget::Unit::kBytes;
    for (int layer = 0; layer < shape_.layers; ++layer) {
      const int32_t held = session.cache->EntriesIn(layer, 0);
      if (bytes) {
        ASSERT_LE(held, shares[layer]) << "seed " << seed_;
        ASSERT_GE(held, std::min(2, shares[layer])) << "seed " << seed_;
      } else {
        ASSERT_EQ(held, shares[layer]) << "seed " << seed_;
      }
      session.model.entries[layer] = held;
    }
    if (bytes) {
      const SessionCache& cache = *session.cache;
      const int64_t floor = shape_.layers * shape_.kv_heads * pool_->page_bytes() *
                            cache.layout().PagesFor(cache.turn_rules().floor());
      ASSERT_LE(cache.used_bytes(),
                std::max(cache.budget().bytes, session.pins.empty() ? floor : 0))
          << "seed " << seed_;
    }
  }

  // Up to three spans of a prompt that fit the budget; their births are noted.
  std::vector<TokenSpan> RandomPins(Session& session, int32_t tokens) {
    std::vector<TokenSpan> pins;
    const SessionCache& cache = *session.cache;
    if (!cache.follows_turn_rules() || Below(2) == 0) {
      return pins;
    }
    int64_t next = Below(4);
    for (int i = 0; i < 3 && next < tokens; ++i) {
      const TokenSpan pin{next, std::min<int64_t>(1 + Below(8), tokens - next)};
      if (!Fits(session, pin.count, cache.budget(), cache.seen() + tokens)) {
        break;
      }
      pins.push_back(pin);
      for (int64_t at = 0; at < pin.count; ++at) {
        session.pins.push_back(static_cast<uint32_t>(cache.seen() + pin.first + at));
      }
      next += pin.count + 1 + Below(10);
    }
    return pins;
  }

  void Turn(Session& session) {
    SessionCache& cache = *session.cache;
    if (session.model.broken) {
      ASSERT_FALSE(cache.BeginPrefill(3).ok());
      Forget(session);
    }
    const auto tokens = static_cast<int32_t>(1 + Below(Below(4) == 0 ? 120 : 12));
    const int32_t answer = static_cast<int32_t>(Below(10));
    const bool reserved = Below(2) == 0;
    if (reserved && !cache.Reserve(cache.UsedBytesBound(tokens + answer)).ok()) {
      return;  // not admitted
    }
    const int64_t seen = cache.seen() + tokens;
    const std::vector<uint32_t> pins_before = session.pins;
    const std::vector<TokenSpan> pins = RandomPins(session, tokens);
    const absl::Status prefilled = Prefill(cache, tokens, ElementWriter(session.id), nullptr, pins);
    if (prefilled.ok()) {
      session.model.seen += tokens;
      // Only now: the prompt may have been measured.
      Settle(session, Shares(session, seen, tokens));
      Answer(session, answer, reserved);
    } else if (prefilled.code() == absl::StatusCode::kResourceExhausted) {
      // Only a session that did not reserve can find the pool empty.
      ASSERT_FALSE(reserved) << prefilled << " seed " << seed_;
      session.model.broken = true;
    } else {
      ASSERT_TRUE(cache.policy().keeps_everything()) << prefilled;
      session.pins = pins_before;
    }
    ASSERT_TRUE(cache.Reserve(0).ok());
  }

  void Answer(Session& session, int32_t tokens, bool reserved) {
    SessionCache& cache = *session.cache;
    cache.BeginDecode();
    for (int32_t i = 0; i < tokens; ++i) {
      if (const Budget budget = RandomBudget();
          Below(20) == 0 && Fits(session, 0, budget, cache.seen())) {
        ASSERT_TRUE(cache.SetBudget(budget).ok());
        reserved = false;  // admission was for the budget before
        ASSERT_TRUE(cache.Reserve(0).ok());
      }
      const std::vector<int32_t> shares = Shares(session, cache.seen() + 1, 1);
      const absl::Status status = DecodeToken(cache, session.id);
      if (!status.ok()) {
        ASSERT_FALSE(reserved && status.code() == absl::StatusCode::kResourceExhausted)
            << status << " seed " << seed_;
        // Layers before the failure have evicted, none has the token.
        for (int layer = 0; layer < shape_.layers; ++layer) {
          ASSERT_LE(cache.EntriesIn(layer, 0), session.model.entries[layer]);
          session.model.entries[layer] = cache.EntriesIn(layer, 0);
        }
        break;
      }
      session.model.seen += 1;
      Settle(session, shares);
    }
    cache.EndDecode();
  }

  // A turn cancelled before its first fold, or half way through the layers.
  void Cancel(Session& session) {
    SessionCache& cache = *session.cache;
    if (session.model.broken || !cache.BeginPrefill(static_cast<int32_t>(1 + Below(30))).ok()) {
      return;
    }
    PromptWorkspace workspace;
    LayerPrompt* prompt = workspace.Prepare(cache);
    const auto layers = static_cast<int>(Below(static_cast<uint32_t>(shape_.layers)));
    for (int layer = 0; layer < layers; ++layer) {
      cache.LoadLayer(layer, prompt);
      session.model.broken = true;
      if (!cache.FoldLayer(layer, *prompt).ok()) {
        break;
      }
    }
    ASSERT_EQ(cache.intact(), !session.model.broken);
  }

  void Check(bool deeply) {
    int64_t private_bytes = 0;
    int64_t reserved = 0;
    std::vector<uint32_t> holders(static_cast<size_t>(kPoolPages));
    for (const Session& session : sessions_) {
      const SessionCache& cache = *session.cache;
      private_bytes += cache.used_bytes() - cache.shared_bytes();
      reserved += cache.reserved_bytes();
      for (int at = 0; at < shape_.layers * shape_.kv_heads; ++at) {
        for (const PageId page :
             cache.Head(at / shape_.kv_heads, at % shape_.kv_heads).page_ids()) {
          ++holders[page];
        }
      }
      if (session.model.broken) {
        continue;
      }
      ASSERT_EQ(cache.seen(), session.model.seen) << "seed " << seed_;
      int64_t pages = 0;
      for (int layer = 0; layer < shape_.layers; ++layer) {
        for (int head = 0; head < shape_.kv_heads; ++head) {
          ASSERT_EQ(cache.EntriesIn(layer, head), session.model.entries[layer]) << "seed " << seed_;
          pages += cache.layout().PagesFor(session.model.entries[layer]);
        }
      }
      ASSERT_EQ(cache.used_bytes(), pages * pool_->page_bytes()) << "seed " << seed_;
      if (deeply) {
        CheckOrigin(session);
      }
    }
    ASSERT_NO_FATAL_FAILURE(CheckHolders(holders));
    ASSERT_EQ(pool_->used_bytes(), private_bytes + pool_->shared_bytes()) << "seed " << seed_;
    ASSERT_EQ(pool_->reserved_bytes(), reserved + pool_->shared_bytes()) << "seed " << seed_;
    ASSERT_LE(pool_->reserved_bytes(), pool_->capacity_bytes());
    ASSERT_LE(pool_->used_bytes(), pool_->reserved_bytes());
  }

  void CheckHolders(const std::vector<uint32_t>& holders) {
    int64_t shared = 0;
    int64_t used = 0;
    for (PageId page = 0; page < holders.size(); ++page) {
      const uint32_t count = holders[page];
      if (count == 0) {
        continue;
      }
      used += pool_->page_bytes();
      ASSERT_EQ(pool_->holders(page), count) << "seed " << seed_;
      ASSERT_TRUE(count == 1 || pool_->in_shared_ledger(page)) << "seed " << seed_;
      shared += pool_->in_shared_ledger(page) ? pool_->page_bytes() : 0;
      most_holders_ = std::max(most_holders_, count);
    }
    ASSERT_EQ(pool_->shared_bytes(), shared) << "seed " << seed_;
    ASSERT_EQ(pool_->used_bytes(), used) << "seed " << seed_;
  }

  static uint32_t OriginOf(const Session& session, uint32_t birth) {
    const auto later = std::find_if(session.origins.rbegin(), session.origins.rend(),
                                    [&](const auto& origin) { return origin.first <= birth; });
    return later->second;
  }

  // No entry was overwritten by another session.
  void CheckOrigin(const Session& session) {
    const float error = StoredError(session.cache->layout().type());
    for (int layer = 0; layer < shape_.layers; ++layer) {
      for (int head = 0; head < shape_.kv_heads; ++head) {
        const HeadContents held = Contents(*session.cache, layer, head);
        ASSERT_TRUE(std::includes(held.births.begin(), held.births.end(), session.pins.begin(),
                                  session.pins.end()))
            << "seed " << seed_;
        for (size_t i = 0; i < held.births.size(); ++i) {
          if (held.masses[i] > 1) {  // merged
            continue;
          }
          const uint32_t origin = OriginOf(session, held.births[i]);
          for (int64_t d = 0; d < shape_.head_dim; ++d) {
            ASSERT_NEAR(held.k[i * shape_.head_dim + d],
                        Element(origin, layer, head, held.births[i], d, false), error)
                << "seed " << seed_;
            ASSERT_NEAR(held.v[i * shape_.head_dim + d],
                        Element(origin, layer, head, held.births[i], d, true), error)
                << "seed " << seed_;
          }
        }
      }
    }
  }

  // A parent, its fork and the fork's fork over the same pages: what chance alone rarely brings
  // about in a short run.
  void PlantForksOfForks() {
    while (pool_->used_bytes() == 0 || sessions_.front().model.broken) {
      sessions_.clear();
      Open();
      ASSERT_NO_FATAL_FAILURE(Turn(sessions_.front()));
    }
    for (size_t parent = 0; parent < 2; ++parent) {
      while (sessions_.size() == parent + 1) {
        ASSERT_NO_FATAL_FAILURE(Fork(parent));
      }
    }
    ASSERT_NO_FATAL_FAILURE(Check(true));
  }

  void Close(size_t index) { sessions_.erase(sessions_.begin() + static_cast<int64_t>(index)); }

  static constexpr int64_t kPoolPages = 2500;
  const CacheShape shape_;
  std::unique_ptr<PagePool> pool_;
  const uint32_t seed_;
  std::mt19937 random_;
  std::vector<Session> sessions_;
  uint32_t next_id_ = 1;
  uint32_t most_holders_ = 0;
};

TEST_P(PoolPropertyTest, TheLedgerIsExactAfterEveryOperation) {
  std::cout << "CONCERTINA_SEED=" << seed_ << " repeats this run\n";
  ASSERT_NO_FATAL_FAILURE(PlantForksOfForks());
  ASSERT_GT(most_holders_, 2U);
  // For each of three head sizes.
  const int operations = std::getenv("CONCERTINA_FULL") != nullptr ? 20'000 : 1500;
  for (int operation = 0; operation < operations; ++operation) {
    const uint32_t dice = Below(100);
    const size_t pick = sessions_.empty() ? 0 : Below(static_cast<uint32_t>(sessions_.size()));
    if (sessions_.empty() || (dice < 10 && sessions_.size() < 24)) {
      Open();
    } else if (dice < 64) {
      ASSERT_NO_FATAL_FAILURE(Turn(sessions_[pick]));
    } else if (dice < 72) {
      if (sessions_.size() < 24) {
        ASSERT_NO_FATAL_FAILURE(Fork(pick));
      }
    } else if (dice < 76) {
      ASSERT_NO_FATAL_FAILURE(Rebase(sessions_[pick]));
    } else if (dice < 82) {
      SessionCache& cache = *sessions_[pick].cache;
      const Budget budget = RandomBudget();
      if (Fits(sessions_[pick], 0, budget, cache.seen())) {
        ASSERT_TRUE(cache.SetBudget(budget).ok());
      }
    } else if (dice < 90) {
      ASSERT_NO_FATAL_FAILURE(Cancel(sessions_[pick]));
    } else if (dice < 94) {
      Forget(sessions_[pick]);
    } else {
      Close(pick);
    }
    ASSERT_NO_FATAL_FAILURE(Check(operation % 50 == 0)) << "operation " << operation;
  }
  while (!sessions_.empty()) {
    Close(Below(static_cast<uint32_t>(sessions_.size())));
    ASSERT_NO_FATAL_FAILURE(Check(false));
  }
  EXPECT_EQ(pool_->used_bytes(), 0);
  EXPECT_EQ(pool_->reserved_bytes(), 0);
}

INSTANTIATE_TEST_SUITE_P(HeadDims, PoolPropertyTest, ::testing::Values(4, 16, 64));

}  // namespace
}  // namespace concertina
