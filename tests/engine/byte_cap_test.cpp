// A byte budget is a hard cap: whatever a conversation does, its used bytes are within it whenever
// anybody can look. And a budget that is changed, in whatever units, holds from the next step on.
#include <gtest/gtest.h>

#include <iostream>
#include <random>

#include "server/engine/errors.h"
#include "tests/engine/engine_fixture.h"

namespace concertina::testing {
namespace {

const char* const kQuestions[] = {"What is in the picture?", "Where is the red car?",
                                  "How many trees are there now?", "Say it again"};

class Capped {
 public:
  explicit Capped(unsigned seed) : random_(seed) {}

  void Step() {
    if (sessions_.size() < 6 && Pick(4) == 0) return Open();
    if (sessions_.empty()) return;
    Session& session = sessions_[Pick(static_cast<unsigned>(sessions_.size()))];
    switch (Pick(10)) {
      case 0:
        sessions_.erase(sessions_.begin());
        return;
      case 1: {
        const auto fork = engine_.Fork(session.id);
        ASSERT_TRUE(fork.ok()) << fork.status();
        sessions_.push_back({fork->session_id, session.bytes, session.bytes_before, session.most});
        return;
      }
      case 2:
        ASSERT_TRUE(engine_.Evict(session.id).ok());
        return;
      case 3:
        return Change(session);
      default:
        return Turn(session);
    }
  }

 private:
  struct Session {
    std::string id;
    int64_t bytes;         // the cap
    int64_t bytes_before;  // and what was held when it was set
    int64_t most;          // the largest cap it ever had
  };

  unsigned Pick(unsigned n) { return static_cast<unsigned>(random_() % n); }
  // Above the floor of the model with entries of every type.
  int64_t RandomBytes() { return 16000 + Pick(60000); }

  void Open() {
    CacheOptions options;
    do {
      options.policy = PolicyNames()[Pick(static_cast<unsigned>(PolicyNames().size()))];
    } while (options.policy == "full");  // it refuses what does not fit
    if (options.policy != "official") options.turn_fold = static_cast<TurnFold>(Pick(3));
    options.entry_type = static_cast<EntryType>(Pick(3));
    const int64_t bytes = RandomBytes();
    options.budget = Budget::Bytes(bytes);
    const std::string id = engine_.OpenId(options);
    sessions_.push_back({id, bytes, 0, bytes});
    ASSERT_FALSE(engine_.Get(id)->cache.raised_to_floor);
  }

  void Change(Session& session) {
    const int64_t bytes = RandomBytes();
    const auto changed = engine_.SetBudget(session.id, Budget::Bytes(bytes));
    if (!changed.ok()) {
      ASSERT_EQ(ReasonOf(changed.status()), reason::kPinsExceedBudget);
      return;
    }
    session.bytes = bytes;
    session.bytes_before = changed->cache.used_bytes;
    session.most = std::max(session.most, bytes);
  }

  void Turn(Session& session) {
    const auto image =
        Pick(3) == 0 ? PlainImage(*TinyModel(), 0.1f * static_cast<float>(Pick(4))) : nullptr;
    const auto tokens = static_cast<int32_t>(1 + Pick(Pick(4) == 0 ? 120 : 12));
    GenerateParams params = TestEngine::Params(session.id, kQuestions[Pick(4)], tokens, image);
    const SessionInfo before = *engine_.Get(session.id);
    if (before.policy != "official") params.parts[Pick(2) % params.parts.size()].pin = Pick(5) == 0;
    const auto sink = engine_.Start(std::move(params));
    // A budget that was lowered before holds from the fold on.
    // A rebuild goes through the folds of earlier turns, under the caps they had.
    const int64_t meanwhile =
        before.evicted ? session.most : std::max(session.bytes, session.bytes_before);
    for (int look = 0; look < 6; ++look) {
      const SessionInfo now = *engine_.Get(session.id);
      ASSERT_LE(now.cache.used_bytes, meanwhile) << now.policy;
    }
    const absl::Status status = sink->Wait();
    if (!status.ok()) {
      ASSERT_TRUE(ReasonOf(status) == reason::kPinsExceedBudget ||
                  ReasonOf(status) == reason::kContextExhausted)
          << status;
      return;
    }
    session.bytes_before = 0;
    ASSERT_LE(sink->folded()->cache.used_bytes, session.bytes) << before.policy;
    ASSERT_LE(sink->completed()->cache.used_bytes, session.bytes) << before.policy;
    ASSERT_LE(engine_.Get(session.id)->cache.used_bytes, session.bytes) << before.policy;
  }

  std::mt19937 random_;
  TestEngine engine_;
  std::vector<Session> sessions_;
};

TEST(ByteCap, HoldsAtEveryMoment) {
  const char* given = std::getenv("CONCERTINA_SEED");
  const unsigned seed = given ? static_cast<unsigned>(std::atoi(given)) : std::random_device{}();
  std::cout << "CONCERTINA_SEED=" << seed << " repeats this run\n";
  Capped capped(seed);
  for (int step = 0; step < 400; ++step) {
    ASSERT_NO_FATAL_FAILURE(capped.Step()) << "step " << step;
  }
}

// What a budget of any kind grants in entries, by definition, where everything else is there.
int64_t Granted(const Budget& budget, const CacheSnapshot& cache, int64_t heads) {
  const auto seen = static_cast<double>(cache.tokens_seen);
  const int64_t n = budget.unit == Budget::Unit::kRatio ? static_cast<int64_t>(budget.ratio * seen)
                                                        : budget.tokens;
  return n * heads;
}

struct Units {
  Budget small, large;
};

class LiveBudgets : public ::testing::TestWithParam<Units> {};

// Smaller from the next fold or token on; larger from then on, without what has gone.
TEST_P(LiveBudgets, HoldFromTheNextStepOn) {
  TestEngine engine(TestEngine::DefaultOptions(), TinyModel(), std::make_shared<UnhurriedSteps>());
  const LanguageConfig& config = TinyModel()->config;
  const int64_t heads = int64_t{config.layers} * config.kv_heads;
  const auto check = [&](const Budget& budget, const CacheSnapshot& cache) {
    EXPECT_EQ(cache.budget, budget);
    if (budget.unit == Budget::Unit::kBytes) {
      EXPECT_LE(cache.used_bytes, budget.bytes);
    } else {
      EXPECT_LE(cache.live_entries, Granted(budget, cache, heads));
    }
  };
  const auto& [small, large] = GetParam();
  const std::string id = engine.OpenId({.budget = large});
  auto first = engine.Turn(id, kQuestions[0], 60);
  check(large, first->completed()->cache);
  const int64_t much = first->completed()->cache.live_entries;

  // Idle: nothing happens before the next fold.
  ASSERT_TRUE(engine.SetBudget(id, small).ok());
  EXPECT_EQ(engine.Get(id)->cache.live_entries, much);
  auto second = engine.Turn(id, kQuestions[1], 5);
  check(small, second->folded()->cache);
  check(small, second->completed()->cache);
  const int64_t little = second->completed()->cache.live_entries;
  EXPECT_LT(little, much);

  // A larger one buys room for what is new only.
  ASSERT_TRUE(engine.SetBudget(id, large).ok());
  EXPECT_EQ(engine.Get(id)->cache.live_entries, little);
  auto third = engine.Start(TestEngine::Params(id, kQuestions[2], 400));
  third->WaitForTokens(1);
  const int64_t grown = third->folded()->cache.live_entries;
  EXPECT_GT(grown, little);
  EXPECT_LE(grown,
            little + (third->folded()->cache.tokens_seen - second->completed()->cache.tokens_seen) *
                         heads);

  // In the middle of an answer.
  ASSERT_TRUE(engine.SetBudget(id, small).ok());
  const size_t so_far = third->tokens().size();
  third->WaitForTokens(so_far + 2);
  check(small, engine.Get(id)->cache);
  ASSERT_TRUE(engine.SetBudget(id, large).ok());
  ASSERT_TRUE(third->Wait().ok());
  check(large, third->completed()->cache);
}

INSTANTIATE_TEST_SUITE_P(AllUnits, LiveBudgets,
                         ::testing::Values(Units{Budget::Ratio(0.1), Budget::Ratio(0.7)},
                                           Units{Budget::Tokens(6), Budget::Tokens(40)},
                                           Units{Budget::Bytes(20000), Budget::Bytes(90000)},
                                           Units{Budget::Tokens(6), Budget::Ratio(0.7)},
                                           Units{Budget::Ratio(0.1), Budget::Bytes(90000)},
                                           Units{Budget::Bytes(20000), Budget::Tokens(40)}));

}  // namespace
}  // namespace concertina::testing
