// Whatever is asked, in whatever order, in a pool that is too small for it: the ledger stays within
// the pool and ends at zero.
#include <gtest/gtest.h>

#include <iostream>
#include <random>
#include <set>
#include <thread>

#include "server/engine/errors.h"
#include "tests/engine/engine_fixture.h"

namespace concertina::testing {
namespace {

const char* const kQuestions[] = {"What is in the picture?", "Where is the red car?",
                                  "How many trees are there now?", "Say it again"};

class RandomOperations {
 public:
  RandomOperations(unsigned seed, EngineOptions options) : random_(seed), engine_(options) {}

  void Step() {
    if (ids_.size() < 8 && Pick(4) == 0) return Open();
    if (ids_.empty()) return;
    const std::string& id = ids_[Pick(static_cast<unsigned>(ids_.size()))];
    switch (Pick(12)) {
      case 0:
        return Close();
      case 1:
        return Fork(id);
      case 2:
        return Expect(engine_.Evict(id).status(), {reason::kTurnInFlight});
      case 3:
        return Truncate(id);
      case 4:
        return Expect(engine_.SetBudget(id, RandomBudget()).status(), {reason::kPoolExhausted});
      default:
        return Turn(id);
    }
  }

  EngineGauges Finish() {
    for (const std::string& id : ids_) engine_.Close(id);
    for (const auto& turn : open_turns_) turn->Wait().IgnoreError();
    return engine_.Settled();
  }

  TestEngine& engine() { return engine_; }

 private:
  unsigned Pick(unsigned n) { return static_cast<unsigned>(random_() % n); }

  Budget RandomBudget() {
    switch (Pick(3)) {
      case 0:
        return Budget::Tokens(1 + Pick(40));
      case 1:
        return Budget::Bytes(20000 + Pick(60000));
      default:
        return Budget::Ratio(0.05 * (1 + Pick(20)));
    }
  }

  void Open() {
    OpenSessionParams params;
    const auto names = PolicyNames();
    params.cache.policy = names[Pick(static_cast<unsigned>(names.size()))];
    params.cache.budget = RandomBudget();
    params.cache.entry_type = static_cast<EntryType>(Pick(3));
    auto session = engine_.Open(params);
    if (session.ok()) return ids_.push_back(session->session_id);
    Expect(session.status(), {reason::kPoolExhausted});
  }

  void Close() {
    engine_.Close(ids_.back());
    ids_.pop_back();
  }

  void Fork(const std::string& id) {
    auto fork = engine_.Fork(id);
    if (fork.ok()) return ids_.push_back(fork->session_id);
    Expect(fork.status(), {reason::kTurnInFlight});
  }

  void Truncate(const std::string& id) {
    const auto session = engine_.Get(id);
    ASSERT_TRUE(session.ok());
    const auto turn = static_cast<int32_t>(Pick(static_cast<unsigned>(session->turns + 1)));
    Expect(engine_.Truncate(id, turn).status(), {reason::kTurnInFlight});
  }

  void Turn(const std::string& id) {
    std::shared_ptr<Engine::Handle> handle;
    const auto tokens = static_cast<int32_t>(1 + Pick(12));
    auto turn = engine_.Start(TestEngine::Params(id, kQuestions[Pick(4)], tokens), &handle);
    if (Pick(4) == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(Pick(4000)));
      handle->Cancel(absl::CancelledError("by the client"));
    }
    if (Pick(3) == 0) return open_turns_.push_back(turn);
    const absl::Status status = turn->Wait();
    if (status.code() == absl::StatusCode::kCancelled) return;
    // A full cache may outgrow its byte budget or the context.
    Expect(status, {reason::kTurnInFlight, reason::kBudgetTooSmall, reason::kContextExhausted});
  }

  void Expect(const absl::Status& status, const std::set<std::string_view>& reasons) {
    if (status.ok()) return;
    EXPECT_TRUE(reasons.contains(ReasonOf(status))) << status;
  }

  std::mt19937 random_;
  TestEngine engine_;
  std::vector<std::string> ids_;
  std::vector<std::shared_ptr<RecordingSink>> open_turns_;
};

TEST(Ledger, HoldsUnderRandomOperations) {
  const char* given = std::getenv("CONCERTINA_SEED");
  const auto seed = given ? static_cast<unsigned>(std::stoul(given)) : std::random_device()();
  std::cout << "seed " << seed << "\n";
  EngineOptions options = TestEngine::DefaultOptions();
  options.pool_bytes = 400000;
  RandomOperations operations(seed, options);
  for (int i = 0; i < 1500; ++i) {
    operations.Step();
    const EngineGauges now = operations.engine().engine().gauges();
    ASSERT_LE(now.pool_used_bytes, now.pool_reserved_bytes);
    ASSERT_LE(now.pool_reserved_bytes, now.pool_capacity_bytes);
    if (::testing::Test::HasFailure()) break;
  }
  const EngineGauges now = operations.Finish();
  EXPECT_EQ(now.pool_used_bytes, 0);
  EXPECT_EQ(now.pool_reserved_bytes, 0);
  EXPECT_EQ(now.sessions_active, 0);
  EXPECT_EQ(now.transcript_bytes, 0);
}

}  // namespace
}  // namespace concertina::testing
