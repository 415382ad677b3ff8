// What can be done to a conversation between its turns: forks, truncation, expiry, limits.
#include <gtest/gtest.h>

#include "server/engine/errors.h"
#include "tests/engine/engine_fixture.h"
#include "tests/engine/fake_clock.h"

namespace concertina::testing {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

const char* const kQuestions[] = {"What is in the picture?", "Where is the red car?",
                                  "How many trees are there now?", "Say it again"};

TEST(Fork, GoesOnAsTheOtherWouldHave) {
  TestEngine engine;
  const auto image = PlainImage(*TinyModel(), 0.1f);
  const std::string id = engine.OpenId(), twin = engine.OpenId();
  for (const auto& session : {id, twin}) engine.Turn(session, kQuestions[0], 15, image);
  auto fork = engine.Fork(id);
  ASSERT_TRUE(fork.ok()) << fork.status();
  EXPECT_NE(fork->session_id, id);
  EXPECT_EQ(fork->turns, 1);
  EXPECT_GT(fork->cache.used_bytes, 0);
  EXPECT_EQ(fork->cache.shared_bytes, fork->cache.used_bytes);
  const int64_t alone = engine.Get(twin)->cache.used_bytes;
  EXPECT_EQ(engine.Settled().pool_used_bytes, 2 * alone) << "a shared page counts once";
  auto a = engine.Turn(fork->session_id, kQuestions[1], 15);
  auto other_way = engine.Turn(id, kQuestions[2], 15);
  auto b = engine.Turn(twin, kQuestions[1], 15);
  EXPECT_EQ(a->tokens(), b->tokens());
  EXPECT_EQ(a->completed()->cache.used_bytes, b->completed()->cache.used_bytes);
  EXPECT_NE(other_way->tokens(), a->tokens());
  for (const auto& session : {id, fork->session_id, twin}) EXPECT_TRUE(engine.Close(session));
  EXPECT_EQ(engine.Settled().pool_used_bytes, 0);
  EXPECT_EQ(engine.Settled().pool_reserved_bytes, 0);
}

TEST(Fork, IsRefusedDuringATurnAndAtTheCap) {
  EngineOptions options = TestEngine::DefaultOptions();
  options.max_sessions = 1;
  TestEngine engine(options, TinyModel(), std::make_shared<UnhurriedSteps>());
  const std::string id = engine.OpenId();
  EXPECT_EQ(ReasonOf(engine.Fork(id).status()), reason::kSessionLimit);
  auto turn = engine.Start(TestEngine::Params(id, kQuestions[0], 200));
  turn->WaitForTokens(1);
  EXPECT_EQ(ReasonOf(engine.Fork(id).status()), reason::kTurnInFlight);
  EXPECT_TRUE(turn->Wait().ok());
}

// A conversation that went wrong and was taken back equals one that never did.
TEST(Truncation, GoesBackToTheEndOfATurn) {
  TestEngine engine;
  const auto image = PlainImage(*TinyModel(), 0.7f);
  for (int32_t keep = 0; keep <= 3; ++keep) {
    const std::string id = engine.OpenId(), twin = engine.OpenId();
    for (int32_t turn = 0; turn < 3; ++turn) {
      const auto picture = turn == 1 ? image : nullptr;
      engine.Turn(id, kQuestions[turn], 10, picture);
      if (turn < keep) engine.Turn(twin, kQuestions[turn], 10, picture);
    }
    auto truncated = engine.Truncate(id, keep);
    ASSERT_TRUE(truncated.ok()) << truncated.status();
    EXPECT_EQ(truncated->turns, keep);
    auto a = engine.Turn(id, kQuestions[3], 10);
    auto b = engine.Turn(twin, kQuestions[3], 10);
    EXPECT_EQ(a->tokens(), b->tokens()) << keep;
    EXPECT_EQ(a->completed()->cache.tokens_seen, b->completed()->cache.tokens_seen) << keep;
    EXPECT_EQ(a->completed()->cache.used_bytes, b->completed()->cache.used_bytes) << keep;
  }
}

TEST(Truncation, IsCheckedBeforeAnythingChanges) {
  TestEngine engine(TestEngine::DefaultOptions(), TinyModel(), std::make_shared<UnhurriedSteps>());
  const std::string id = engine.OpenId();
  engine.Turn(id, kQuestions[0], 5);
  EXPECT_EQ(FieldOf(engine.Truncate(id, 2).status()), "truncate_turn");
  EXPECT_EQ(FieldOf(engine.Truncate(id, -1).status()), "truncate_turn");
  EXPECT_EQ(engine.Get(id)->turns, 1);
  auto turn = engine.Start(TestEngine::Params(id, kQuestions[1], 200));
  turn->WaitForTokens(1);
  EXPECT_EQ(ReasonOf(engine.Truncate(id, 0).status()), reason::kTurnInFlight);
  EXPECT_TRUE(turn->Wait().ok());
}

TEST(Expiry, IdleSessionsGoByTheSteadyClockAlone) {
  auto clock = std::make_shared<FakeClock>();
  EngineOptions options = TestEngine::DefaultOptions();
  options.session_idle_timeout = minutes(10);
  TestEngine engine(options, TinyModel(), nullptr, clock);
  const std::string idle = engine.OpenId(), used = engine.OpenId();
  engine.Turn(idle, kQuestions[0], 3);
  EXPECT_EQ(engine.Get(idle)->expires, clock->WallNow() + minutes(10));
  for (const auto jump : {hours(1), hours(-1), hours(24 * 3650), hours(-24 * 3650)}) {
    clock->JumpWall(jump);
    clock->Advance(seconds(2));
    engine.Turn(used, kQuestions[0], 1);
    EXPECT_TRUE(engine.Get(idle).ok()) << "the wall clock was set";
  }
  clock->Advance(minutes(9));
  engine.Turn(used, kQuestions[1], 1);
  EXPECT_TRUE(engine.Get(idle).ok());
  clock->Advance(minutes(1));
  engine.Turn(used, kQuestions[1], 1);
  EXPECT_EQ(ReasonOf(engine.Get(idle).status()), reason::kSessionNotFound);
  EXPECT_TRUE(engine.Get(used).ok());
}

TEST(Limits, WhatIsRememberedIsBounded) {
  EngineOptions options = TestEngine::DefaultOptions();
  options.max_session_transcript_bytes = 200;
  options.max_transcript_bytes = 600;
  TestEngine engine(options);
  absl::Status refused;
  const std::string id = engine.OpenId();
  for (int i = 0; i < 50 && refused.ok(); ++i) {
    refused = engine.Start(TestEngine::Params(id, kQuestions[i % 4], 3))->Wait();
  }
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(refused), reason::kTranscriptLimit);
  refused = absl::OkStatus();
  for (int i = 0; i < 50 && refused.ok(); ++i) {
    refused = engine.Start(TestEngine::Params(engine.OpenId(), kQuestions[i % 4], 3))->Wait();
  }
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused), reason::kTranscriptLimit);
  EXPECT_TRUE(RetryAfterMsOf(refused));
}

TEST(Limits, APoolTooSmallForAnySessionIsNamedAtOpen) {
  EngineOptions options = TestEngine::DefaultOptions();
  options.pool_bytes = 2048;
  TestEngine engine(options);
  EXPECT_EQ(ReasonOf(engine.Open().status()), reason::kBudgetTooSmall);
}

}  // namespace
}  // namespace concertina::testing
