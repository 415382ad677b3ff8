// A server that is told to stop under load: it says so at once, ends what it began, refuses the
// rest, and goes.
#include <gtest/gtest.h>
#include <signal.h>

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/errors.h"
#include "tests/campaigns/campaign.h"
#include "tests/campaigns/long_llava.h"
#include "tests/campaigns/stage.h"

namespace concertina::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr int kServing = 1;
constexpr int kNotServing = 2;
constexpr int kRunning = 3;
constexpr int kWaiting = 3;
constexpr char kBatch[] = "3";
constexpr double kNoticeMs = 1000;
constexpr double kGraceMs = 30'000;
constexpr double kEarlyMs = 5'000;  // the process ends at least this long before its grace
constexpr int kSignalExit = 128;

void ExpectRefused(const grpc::Status& status, const grpc::ClientContext& context) {
  const Outcome outcome = OutcomeOf(status, context);
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kUnavailable) << outcome.status;
  EXPECT_EQ(client::DetailsOf(outcome.status).reason, "DRAINING") << outcome.status;
}

// New sessions, and turns of old ones.
void ExpectNoNewWork(const Wire& wire, const std::string& idle_session) {
  grpc::ClientContext opening;
  v1::OpenSessionResponse opened;
  ExpectRefused(wire.stub().OpenSession(&opening, {}, &opened), opening);
  grpc::ClientContext asking;
  ExpectRefused(Generate(wire.stub(), TurnOf(idle_session, "hi", 1), asking).status, asking);
}

struct Rollout {
  double notice_ms = 0, exit_ms = 0;
};

class Drain : public ::testing::Test {
 protected:
  // Turns of `tokens` tokens each: as many as run together, then as many again that wait.
  void Load(Stage& stage, int32_t tokens) {
    for (int i = 0; i < kRunning; ++i) turns_.push_back(MakeTurn(stage, tokens));
    ASSERT_EQ(stage.server().Gauge("requests_running", kRunning), kRunning);
    for (int i = 0; i < kWaiting; ++i) turns_.push_back(MakeTurn(stage, tokens));
    ASSERT_EQ(stage.server().Gauge("requests_waiting", kWaiting), kWaiting);
  }

  // `tokens` tokens of each running turn, nothing of those that waited.
  void ExpectEnded(int32_t tokens) {
    for (size_t i = 0; i < turns_.size(); ++i) {
      const Outcome outcome = turns_[i]->Wait();
      if (i < kRunning) {
        EXPECT_TRUE(outcome.status.ok()) << outcome.status;
        EXPECT_TRUE(turns_[i]->turn().completed);
        EXPECT_EQ(turns_[i]->turn().tokens.size(), static_cast<size_t>(tokens));
      } else {
        EXPECT_EQ(outcome.status.code(), absl::StatusCode::kUnavailable) << outcome.status;
        EXPECT_EQ(client::DetailsOf(outcome.status).reason, "DRAINING");
        EXPECT_FALSE(turns_[i]->turn().started);
      }
    }
    turns_.clear();
  }

  Rollout Run(int32_t tokens) {
    Rollout rollout;
    Stage stage(LongLlava(), {"--max-batch", kBatch});
    if (!stage.ready()) return rollout;
    const std::string idle = OpenSession(stage.wire());
    EXPECT_EQ(stage.wire().Health("readiness"), kServing);
    Load(stage, tokens);
    const auto start = steady_clock::now();
    stage.server().process().Signal(SIGTERM);
    EXPECT_TRUE(
        Eventually(seconds(20), [&] { return stage.wire().Health("readiness") == kNotServing; }));
    rollout.notice_ms = MsSince(start);
    EXPECT_EQ(stage.wire().Health(""), kNotServing);
    EXPECT_EQ(stage.wire().Health("liveness"), kServing);
    ExpectNoNewWork(stage.wire(), idle);
    ExpectEnded(tokens);
    EXPECT_EQ(stage.server().process().WaitForExit(seconds(40)), 0) << stage.server().Log();
    rollout.exit_ms = MsSince(start);
    return rollout;
  }

  std::vector<std::unique_ptr<LongTurn>> turns_;

 private:
  static std::unique_ptr<LongTurn> MakeTurn(Stage& stage, int32_t tokens) {
    return std::make_unique<LongTurn>(
        stage.wire(), LongTurn::Options{.open = {}, .max_tokens = tokens, .queued = true});
  }
};

TEST_F(Drain, RollOutsLoseNothing) {
  std::mt19937 random = RandomStream(200);
  std::vector<double> notice_ms, exit_ms;
  const int rollouts = Sized(5, 100);
  for (int i = 0; i < rollouts && !HasFailure(); ++i) {
    const Rollout rollout = Run(Draw(random, 5'000, 10'000));
    notice_ms.push_back(rollout.notice_ms);
    exit_ms.push_back(rollout.exit_ms);
  }
  // One of a few may be held up by other work of the machine.
  EXPECT_LE(Percentile(notice_ms, IsFullSize() ? 1 : 0.5), kNoticeMs);
  EXPECT_LE(Percentile(exit_ms, 1), kGraceMs - kEarlyMs);
  PrintFigures("drain",
               absl::StrCat(notice_ms.size(), " rollouts; not serving after p50 ",
                            Percentile(notice_ms, 0.5), " ms, at most ", Percentile(notice_ms, 1),
                            " ms; gone after p50 ", Percentile(exit_ms, 0.5), " ms, at most ",
                            Percentile(exit_ms, 1), " ms"));
}

TEST_F(Drain, ASecondSignalForces) {
  Stage stage(LongLlava(), {"--max-batch", kBatch});
  ASSERT_TRUE(stage.ready());
  Load(stage, kLongTurnTokens);
  stage.server().process().Signal(SIGTERM);
  ASSERT_TRUE(
      Eventually(seconds(20), [&] { return stage.wire().Health("readiness") == kNotServing; }));
  stage.server().process().Signal(SIGTERM);
  // Less than the grace period.
  EXPECT_EQ(stage.server().process().WaitForExit(seconds(20)), kSignalExit + SIGTERM);
  for (const auto& turn : turns_) {
    EXPECT_EQ(turn->Wait().status.code(), absl::StatusCode::kUnavailable);
  }
}

TEST_F(Drain, TheGracePeriodEndsWhatIsTooLong) {
  Stage stage(LongLlava(), {"--max-batch", kBatch, "--grace-period", "1"});
  ASSERT_TRUE(stage.ready());
  Load(stage, kLongTurnTokens);
  const auto start = steady_clock::now();
  stage.server().process().Signal(SIGTERM);
  EXPECT_EQ(stage.server().process().WaitForExit(seconds(20)), 0) << stage.server().Log();
  EXPECT_GE(MsSince(start), 1000);
  for (const auto& turn : turns_) {
    EXPECT_FALSE(turn->Wait().status.ok());
    EXPECT_FALSE(turn->turn().completed);
  }
}

}  // namespace
}  // namespace concertina::testing
