// Somebody sets the wall clock: no session expires by it and no turn is refused; time that really
// passes does both, when it should.
#include <gtest/gtest.h>

#include "server/engine/errors.h"
#include "tests/engine/engine_fixture.h"
#include "tests/engine/fake_clock.h"

namespace concertina::testing {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

constexpr int kSessions = 50;
constexpr seconds kIdle{600};
constexpr hours kTenYears{24 * 3652};

// How many of the sessions are open; a turn of another one makes the engine look.
int Open(TestEngine& engine, const std::string& other, const std::vector<std::string>& ids) {
  engine.Turn(other, "hi", 1);
  int open = 0;
  for (const std::string& id : ids) open += engine.Get(id).ok() ? 1 : 0;
  return open;
}

TEST(WallClock, ExpiresNobodyWhenItJumps) {
  const auto clock = std::make_shared<FakeClock>();
  EngineOptions options = TestEngine::DefaultOptions();
  options.session_idle_timeout = kIdle;
  TestEngine engine(options, TinyModel(), nullptr, clock);
  const std::string other = engine.OpenId();
  std::vector<std::string> ids;
  for (int i = 0; i < kSessions; ++i) ids.push_back(engine.OpenId());
  for (const auto jump : {hours(1), hours(-1), kTenYears, -kTenYears, -kTenYears, kTenYears}) {
    clock->JumpWall(jump);
    clock->Advance(seconds(2));
    EXPECT_EQ(Open(engine, other, ids), kSessions) << jump.count() << " hours";
  }
  // Within 5 % of the time they were given.
  clock->Advance(kIdle - seconds(12) - kIdle / 20);
  EXPECT_EQ(Open(engine, other, ids), kSessions);
  clock->Advance(kIdle / 10);
  EXPECT_EQ(Open(engine, other, ids), 0);
  EXPECT_TRUE(engine.Get(other).ok());
}

TEST(WallClock, RefusesNoTurnWhenItJumps) {
  const auto clock = std::make_shared<FakeClock>();
  EngineOptions options = TestEngine::DefaultOptions();
  options.max_batch = 1;
  options.max_queue_wait = seconds(30);
  TestEngine engine(options, TinyModel(), std::make_shared<UnhurriedSteps>(), clock);
  std::shared_ptr<Engine::Handle> handle;
  // Long enough to keep the only place taken while the clock is set.
  const auto running = engine.Start(TestEngine::Params(engine.OpenId(), "hi", 450), &handle);
  running->WaitForTokens(1);
  const auto waiting = engine.Start(TestEngine::Params(engine.OpenId(), "me too", 2));
  for (const auto jump : {hours(1), hours(-1), kTenYears, -kTenYears}) clock->JumpWall(jump);
  EXPECT_TRUE(running->Wait().ok());
  EXPECT_TRUE(waiting->Wait().ok());
}

}  // namespace
}  // namespace concertina::testing
