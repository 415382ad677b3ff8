// Turns that wait: for a place, for room in the pool, not for ever.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "server/engine/errors.h"
#include "tests/engine/engine_fixture.h"
#include "tests/engine/fake_clock.h"

namespace concertina::testing {
namespace {

using std::chrono::seconds;

constexpr char kQuestion[] = "What is in the picture?";

CacheOptions Full() {
  CacheOptions options;
  options.policy = "full";
  return options;
}

EngineOptions SmallPool() {
  EngineOptions options = TestEngine::DefaultOptions();
  options.pool_bytes = 1000000;
  return options;
}

TEST(Queue, WaitsForThePoolAndIsServedInOrder) {
  TestEngine engine(SmallPool(), TinyModel(), std::make_shared<UnhurriedSteps>());
  std::vector<GenerateParams> asked;
  for (int i = 0; i < 8; ++i) {
    asked.push_back(TestEngine::Params(engine.OpenId(Full()), kQuestion, 400));
  }
  std::vector<std::shared_ptr<RecordingSink>> turns;
  for (const GenerateParams& params : asked) turns.push_back(engine.Start(params));
  std::vector<std::chrono::steady_clock::time_point> admitted;
  for (size_t i = 0; i < turns.size(); ++i) {
    ASSERT_TRUE(turns[i]->Wait().ok());
    EXPECT_EQ(turns[i]->tokens(), turns.front()->tokens());
    admitted.push_back(asked[i].arrival + turns[i]->completed()->timings.queue);
  }
  EXPECT_TRUE(std::is_sorted(admitted.begin(), admitted.end()));
  const TurnTimings first = turns.front()->completed()->timings;
  EXPECT_GT(admitted.back(), asked.front().arrival + first.time_to_first_token + first.decode / 2)
      << "not all fit at once";
}

TEST(Queue, ATurnThatCanNeverFitIsRefusedAtOnce) {
  EngineOptions options = SmallPool();
  options.pool_bytes = 300000;
  TestEngine engine(options);
  const auto status =
      engine.Start(TestEngine::Params(engine.OpenId(Full()), kQuestion, 450))->Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(status), reason::kBudgetTooSmall);
}

TEST(Queue, GivesUpInTimeAndSaysWhy) {
  auto clock = std::make_shared<FakeClock>();
  EngineOptions options = SmallPool();
  options.max_queue_wait = seconds(5);
  TestEngine engine(options, TinyModel(), std::make_shared<UnhurriedSteps>(), clock);
  std::vector<std::shared_ptr<Engine::Handle>> handles(24);
  std::vector<std::shared_ptr<RecordingSink>> turns;
  for (auto& handle : handles) {
    turns.push_back(
        engine.Start(TestEngine::Params(engine.OpenId(Full()), kQuestion, 440), &handle));
  }
  turns.front()->WaitForTokens(1);
  engine.OpenId();  // when this is answered, every turn is in the queue
  clock->Advance(seconds(6));
  std::vector<std::string> reasons;
  for (const auto& turn : turns) {
    const absl::Status status = turn->Wait();
    reasons.push_back(ReasonOf(status));
    if (status.ok()) continue;
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_TRUE(RetryAfterMsOf(status));
    EXPECT_TRUE(turn->tokens().empty()) << "refused before anything was said";
  }
  EXPECT_EQ(reasons.front(), "");
  EXPECT_EQ(reasons.back(), reason::kQueueTimeout);
  EXPECT_EQ(std::count(reasons.begin(), reasons.end(), reason::kPoolExhausted), 1)
      << "the first in the queue wants room, the others a place";
}

TEST(Queue, CancelAndDeadlineReachTurnsThatWait) {
  EngineOptions options = TestEngine::DefaultOptions();
  options.max_batch = 1;
  TestEngine engine(options, TinyModel(), std::make_shared<UnhurriedSteps>());
  std::shared_ptr<Engine::Handle> first, second;
  auto running = engine.Start(TestEngine::Params(engine.OpenId(), kQuestion, 450), &first);
  running->WaitForTokens(1);
  const std::string id = engine.OpenId();
  auto waiting = engine.Start(TestEngine::Params(id, kQuestion, 5), &second);
  second->Cancel(absl::DeadlineExceededError("deadline exceeded"));
  EXPECT_EQ(waiting->Wait().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(engine.Get(id)->turns, 0);
  first->Cancel(absl::CancelledError("by the client"));
  running->Wait().IgnoreError();
  EXPECT_TRUE(engine.Turn(id, kQuestion, 5)->completed());
}

TEST(Queue, DrainingRefusesWhatWaitsAndFinishesWhatRuns) {
  EngineOptions options = TestEngine::DefaultOptions();
  options.max_batch = 1;
  TestEngine engine(options, TinyModel(), std::make_shared<UnhurriedSteps>());
  auto running = engine.Start(TestEngine::Params(engine.OpenId(), kQuestion, 300));
  running->WaitForTokens(1);
  auto waiting = engine.Start(TestEngine::Params(engine.OpenId(), kQuestion, 5));
  engine.engine().StartDraining();
  const absl::Status refused = waiting->Wait();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(refused), reason::kDraining);
  EXPECT_TRUE(running->Wait().ok());
  EXPECT_EQ(running->tokens().size(), 300u);
}

TEST(Queue, AHistoryBeingReplayedCanBeCancelled) {
  TestEngine engine(TestEngine::DefaultOptions(), TinyModel(), std::make_shared<UnhurriedSteps>());
  OpenSessionParams params;
  std::string words;
  for (int i = 0; i < 100; ++i) words += " the car is red";
  for (int i = 0; i < 2; ++i) {
    params.history.push_back({HistoryMessage::Role::kUser, {{.text = kQuestion, .image = {}}}});
    params.history.push_back(
        {HistoryMessage::Role::kAssistant, {{.text = words.substr(0, 700), .image = {}}}});
  }
  params.session_id = "0b3a1c52-7a53-4f0e-9a58-1f0c4f2b7d11";
  std::promise<absl::Status> ended;
  auto handle = engine.engine().OpenSession(
      params, [&](absl::StatusOr<SessionInfo> info) { ended.set_value(info.status()); });
  handle->Cancel(absl::CancelledError("by the client"));
  EXPECT_EQ(ended.get_future().get().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(ReasonOf(engine.Get(params.session_id).status()), reason::kSessionNotFound);
  EXPECT_EQ(engine.Settled().pool_used_bytes, 0);
}

}  // namespace
}  // namespace concertina::testing
