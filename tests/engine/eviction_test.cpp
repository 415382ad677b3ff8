// Caches that are given up and computed again: whatever the reason, the conversation goes on as if
// nothing had happened.
#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <random>

#include "server/engine/errors.h"
#include "tests/engine/engine_fixture.h"

namespace concertina::testing {
namespace {

const char* const kQuestions[] = {"What is in the picture?", "Where is the red car?",
                                  "How many trees are there now?", "Say it again"};

class Counting final : public EngineObserver {
 public:
  void OnEvicted(std::string_view reason, int64_t freed) override {
    std::lock_guard lock(mutex_);
    ++evictions_[std::string(reason)];
    freed_ += freed;
  }
  void OnRebuild() override {
    std::lock_guard lock(mutex_);
    ++rebuilds_;
  }
  int evictions(const std::string& reason) {
    std::lock_guard lock(mutex_);
    return evictions_[reason];
  }
  int rebuilds() {
    std::lock_guard lock(mutex_);
    return rebuilds_;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, int> evictions_;
  int64_t freed_ = 0;
  int rebuilds_ = 0;
};

void ExpectSame(RecordingSink& a, RecordingSink& b) {
  ASSERT_TRUE(a.completed());
  ASSERT_TRUE(b.completed());
  EXPECT_EQ(a.tokens(), b.tokens());
  EXPECT_EQ(a.text(), b.text());
  EXPECT_EQ(a.completed()->turn, b.completed()->turn);
  EXPECT_EQ(a.completed()->carried_tokens, b.completed()->carried_tokens);
  EXPECT_EQ(a.completed()->cache.tokens_seen, b.completed()->cache.tokens_seen);
  EXPECT_EQ(a.completed()->cache.live_entries, b.completed()->cache.live_entries);
  EXPECT_EQ(a.completed()->cache.used_bytes, b.completed()->cache.used_bytes);
}

struct Setup {
  const char* policy;
  Budget budget;
  bool adaptive_heads = false;
};

class Rebuild : public ::testing::TestWithParam<Setup> {};

// Evicted before every turn, budgets changed between turns and in the middle of answers.
TEST_P(Rebuild, GivesTheSameTokens) {
  TestEngine engine;
  CacheOptions options;
  options.policy = GetParam().policy;
  options.budget = GetParam().budget;
  options.policy_options.adaptive_heads = GetParam().adaptive_heads;
  const std::string evicted = engine.OpenId(options), kept = engine.OpenId(options);
  const auto image = PlainImage(*TinyModel(), 0.4f);
  for (int turn = 0; turn < 6; ++turn) {
    if (turn > 0) {
      const int64_t seen = engine.Get(evicted)->cache.tokens_seen;
      ASSERT_GT(*engine.Evict(evicted), 0);
      EXPECT_EQ(engine.Get(evicted)->cache.tokens_seen, seen);
      EXPECT_TRUE(engine.Get(evicted)->evicted);
      EXPECT_EQ(engine.Get(evicted)->cache.used_bytes, 0);
    }
    if (turn == 3) {
      for (const auto& id : {evicted, kept}) {
        ASSERT_TRUE(engine.SetBudget(id, Budget::Ratio(0.6)).ok());
      }
    }
    const auto picture = turn % 2 == 0 ? image : nullptr;
    auto a = engine.Turn(evicted, kQuestions[turn % 4], 12, picture);
    auto b = engine.Turn(kept, kQuestions[turn % 4], 12, picture);
    ExpectSame(*a, *b);
    EXPECT_FALSE(engine.Get(evicted)->evicted);
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, Rebuild,
                         ::testing::Values(Setup{"concertina", Budget::Ratio(0.2)},
                                           Setup{"concertina", Budget::Tokens(12)},
                                           Setup{"concertina", Budget::Ratio(0.2), true},
                                           Setup{"elastic", Budget::Ratio(0.3)},
                                           Setup{"full", Budget::Ratio(1)}));

INSTANTIATE_TEST_SUITE_P(
    Baselines, Rebuild,
    ::testing::Values(Setup{"concertina-hq", Budget::Ratio(0.2)},
                      Setup{"concertina-hq", Budget::Tokens(12)}, Setup{"h2o", Budget::Ratio(0.2)},
                      Setup{"keydiff", Budget::Tokens(12)}, Setup{"local", Budget::Ratio(0.2)},
                      Setup{"official", Budget::Ratio(0.4)}, Setup{"prefixkv", Budget::Ratio(0.2)},
                      Setup{"prefixkv", Budget::Tokens(50)}, Setup{"random", Budget::Ratio(0.2)},
                      Setup{"snapkv", Budget::Ratio(0.4)}));

// The session itself is its own twin: it is forked where the budget changes in mid-answer, so that
// both have the same history, and one of the two is evicted.
TEST(Eviction, RemembersABudgetThatChangedInMidAnswer) {
  TestEngine engine(TestEngine::DefaultOptions(), TinyModel(), std::make_shared<UnhurriedSteps>());
  const std::string id = engine.OpenId();
  auto turn = engine.Start(TestEngine::Params(id, kQuestions[0], 300));
  turn->WaitForTokens(20);
  ASSERT_TRUE(engine.SetBudget(id, Budget::Tokens(9)).ok());
  turn->WaitForTokens(100);
  ASSERT_TRUE(engine.SetBudget(id, Budget::Ratio(0.5)).ok());
  ASSERT_TRUE(turn->Wait().ok());
  auto fork = engine.Fork(id);
  ASSERT_TRUE(fork.ok()) << fork.status();
  ASSERT_GT(*engine.Evict(fork->session_id) + 1, 0);
  auto a = engine.Turn(id, kQuestions[1], 20);
  auto b = engine.Turn(fork->session_id, kQuestions[1], 20);
  ExpectSame(*a, *b);
}

TEST(Eviction, IdleSessionsMakeRoomLeastRecentlyUsedFirst) {
  auto observer = std::make_shared<Counting>();
  EngineOptions options = TestEngine::DefaultOptions();
  options.pool_bytes = 400000;
  TestEngine engine(options, TinyModel(), observer);
  TestEngine roomy;
  CacheOptions full;
  full.policy = "full";
  std::vector<std::string> ids, twins;
  for (int i = 0; i < 12; ++i) {
    ids.push_back(engine.OpenId(full));
    twins.push_back(roomy.OpenId(full));
    auto a = engine.Turn(ids[i], kQuestions[i % 4], 12);
    auto b = roomy.Turn(twins[i], kQuestions[i % 4], 12);
    ExpectSame(*a, *b);
  }
  EXPECT_GT(observer->evictions("pool"), 0);
  EXPECT_TRUE(engine.Get(ids.front())->evicted) << "used longest ago";
  EXPECT_FALSE(engine.Get(ids.back())->evicted);
  std::mt19937 random(7);
  for (int i = 0; i < 40; ++i) {
    const size_t at = random() % ids.size();
    auto a = engine.Turn(ids[at], kQuestions[i % 4], 3);
    auto b = roomy.Turn(twins[at], kQuestions[i % 4], 3);
    ExpectSame(*a, *b);
    const EngineGauges now = engine.Settled();
    EXPECT_LE(now.pool_reserved_bytes, options.pool_bytes);
  }
  EXPECT_GT(observer->rebuilds(), 3);
  for (const auto& id : ids) EXPECT_TRUE(engine.Close(id));
  EXPECT_EQ(engine.Settled().pool_used_bytes, 0);
  EXPECT_EQ(engine.Settled().pool_reserved_bytes, 0);
}

TEST(Eviction, IsRefusedWhereItWouldHurt) {
  TestEngine engine(TestEngine::DefaultOptions(), TinyModel(), std::make_shared<UnhurriedSteps>());
  const std::string id = engine.OpenId();
  EXPECT_EQ(ReasonOf(engine.Evict("6e6d0c5e-0000-4000-8000-000000000000").status()),
            reason::kSessionNotFound);
  EXPECT_EQ(*engine.Evict(id), 0) << "nothing to free yet";
  EXPECT_FALSE(engine.Get(id)->evicted);
  std::shared_ptr<Engine::Handle> handle;
  auto turn = engine.Start(TestEngine::Params(id, kQuestions[0], 400), &handle);
  turn->WaitForTokens(1);
  EXPECT_EQ(ReasonOf(engine.Evict(id).status()), reason::kTurnInFlight);
  handle->Cancel(absl::CancelledError("by the client"));
  turn->Wait().IgnoreError();
  EXPECT_GT(*engine.Evict(id), 0);
}

}  // namespace
}  // namespace concertina::testing
