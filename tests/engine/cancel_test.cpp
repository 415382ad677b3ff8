// A cancel stops the work on a turn within one step of the engine, wherever the turn is.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "tests/engine/engine_fixture.h"

namespace concertina::testing {
namespace {

constexpr int kCancels = 150;
constexpr uint32_t kSeed = 2026;

// Counts decode steps, and takes its time over them: no turn here may come to its end.
class StepCounter final : public EngineObserver {
 public:
  void OnBatch(int64_t) override {
    ++steps_;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  int steps() const { return steps_; }

 private:
  std::atomic<int> steps_{0};
};

TEST(Cancel, NoTurnGoesOnForMoreThanAStep) {
  const auto steps = std::make_shared<StepCounter>();
  TestEngine engine(TestEngine::DefaultOptions(), TinyModel(), steps);
  std::mt19937 random(kSeed);
  int in_decode = 0, before = 0;
  for (int i = 0; i < kCancels; ++i) {
    const std::string id = engine.OpenId();
    std::shared_ptr<Engine::Handle> handle;
    const auto sink = engine.Start(TestEngine::Params(id, std::string(200, 'x'), 250), &handle);
    const size_t wanted = random() % 12;
    if (wanted > 0) {
      sink->WaitForTokens(wanted);
    } else if (random() % 2 == 0) {
      sink->WaitFor<StartedEvent>();
    }
    handle->Cancel(absl::CancelledError("enough"));
    // One delta a step; a delta may carry several tokens, whose text was incomplete before.
    const size_t delivered = sink->deltas();
    const int steps_then = steps->steps();
    EXPECT_EQ(sink->Wait().code(), absl::StatusCode::kCancelled);
    EXPECT_LE(sink->deltas(), delivered + 1);
    EXPECT_LE(steps->steps(), steps_then + 1);
    ++(delivered > 0 ? in_decode : before);
    engine.Close(id);
  }
  EXPECT_GT(in_decode, 0);
  EXPECT_GT(before, 0);
  const EngineGauges gauges = engine.Settled();
  EXPECT_EQ(gauges.pool_used_bytes, 0);
  EXPECT_EQ(gauges.pool_reserved_bytes, 0);
  EXPECT_EQ(gauges.sessions_busy, 0);
}

}  // namespace
}  // namespace concertina::testing
