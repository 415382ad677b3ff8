// Turns that wait: for a place, for room in the pool, not for ever.
#include <gtest/gtest.h>

#include <thread>

#include "server/engine/errors.h"
#include "tests/engine/engine_fixture.h"
#include "tests/engine/fake_clock.h"

namespace concertina::testing {
namespace {

using std::chrono::milliseconds;
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
  TestEngine engine(SmallPool());
  std::vector<std::shared_ptr<RecordingSink>> turns;
  for (int i = 0; i < 8; ++i) {
    turns.push_back(engine.Start(TestEngine::Params(engine.OpenId(Full()), kQuestion, 400)));
  }
  for (const auto& turn : turns) {
    EXPECT_TRUE(turn->Wait().ok());
    EXPECT_EQ(turn->tokens(), turns.front()->tokens());
  }
  const auto queued = [](const auto& turn) { return turn->completed()->timings.queue; };
  EXPECT_LT(queued(turns[0]) + milliseconds(20), queued(turns[7])) << "not all fit at once";
  for (size_t i = 1; i < turns.size(); ++i) {  // they arrived a moment apart
    EXPECT_LE(queued(turns[i - 1]), queued(turns[i]) + milliseconds(20)) << i;
  }
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
  TestEngine engine(options, TinyModel(), nullptr, clock);
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
  TestEngine engine(options);
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
  TestEngine engine(options);
  auto running = engine.Start(TestEngine::Params(engine.OpenId(), kQuestion, 100));
  running->WaitForTokens(1);
  auto waiting = engine.Start(TestEngine::Params(engine.OpenId(), kQuestion, 5));
  engine.engine().StartDraining();
  const absl::Status refused = waiting->Wait();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(refused), reason::kDraining);
  EXPECT_TRUE(running->Wait().ok());
  EXPECT_EQ(running->tokens().size(), 100u);
}

TEST(Queue, AHistoryBeingReplayedCanBeCancelled) {
  TestEngine engine;
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
