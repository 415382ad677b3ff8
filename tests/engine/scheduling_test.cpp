// How the engine shares its time: between prompts and running answers, and between prompts of
// different lengths. Time is simulated, so the shares are the same on every machine.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/engine/simulated_machine.h"

namespace concertina::testing {
namespace {

using std::chrono::nanoseconds;

// Words that make a prompt of about so many tokens.
std::string Words(int64_t tokens) {
  const std::string phrase = " the car is red";
  const auto each = static_cast<int64_t>(
      LongTinyModel()->tokenizer->Encode(phrase, Tokenizer::Special::kInert).size());
  std::string words;
  for (int64_t made = 0; made < tokens; made += each) words += phrase;
  return words;
}

class Scheduling : public ::testing::Test {
 protected:
  Scheduling() : engine_(Options(), LongTinyModel(), machine_, machine_->clock()) {
    // The engine opens none while it is stopped.
    for (int i = 0; i < 100; ++i) ids_.push_back(engine_.OpenId());
  }

  std::string NextId() {
    if (ids_.empty()) return engine_.OpenId();
    std::string id = std::move(ids_.back());
    ids_.pop_back();
    return id;
  }

  static EngineOptions Options() {
    EngineOptions options = TestEngine::DefaultOptions();
    options.max_queue_wait = std::chrono::hours(10);
    options.session_idle_timeout = std::chrono::hours(1000);
    return options;
  }

  std::shared_ptr<RecordingSink> Start(const std::string& id, const std::string& words,
                                       int32_t tokens, std::shared_ptr<Engine::Handle>* handle,
                                       std::shared_ptr<const PreparedImage> image = nullptr) {
    GenerateParams params = TestEngine::Params(id, words, tokens, std::move(image));
    params.arrival = machine_->clock()->Now();
    return engine_.Start(std::move(params), handle);
  }
  std::shared_ptr<RecordingSink> Start(const std::string& words, int32_t tokens) {
    return Start(NextId(), words, tokens, nullptr);
  }

  static nanoseconds FirstToken(RecordingSink& sink) {
    EXPECT_TRUE(sink.Wait().ok());
    return sink.completed()->timings.time_to_first_token;
  }

  // Answers that go on until they are cancelled.
  void StartAnswers(int count) {
    for (int i = 0; i < count; ++i) {
      answers_.push_back(Start(NextId(), "go on", 15'000, &handles_.emplace_back()));
    }
    for (const auto& answer : answers_) answer->WaitForTokens(3);
  }
  void StopAnswers() {
    for (const auto& handle : handles_) handle->Cancel(absl::CancelledError("enough"));
    for (const auto& answer : answers_) answer->Wait().IgnoreError();
  }

  // The longest time between two decode steps that lie within the window.
  nanoseconds LongestGap(std::chrono::steady_clock::time_point begin,
                         std::chrono::steady_clock::time_point end) const {
    const auto steps = machine_->steps();
    nanoseconds longest{0};
    for (size_t i = 1; i < steps.size(); ++i) {
      if (steps[i - 1] < begin || steps[i] > end) continue;
      longest = std::max<nanoseconds>(longest, steps[i] - steps[i - 1]);
    }
    return longest;
  }

  const std::shared_ptr<SimulatedMachine> machine_ = std::make_shared<SimulatedMachine>();
  TestEngine engine_;
  std::vector<std::string> ids_;
  std::vector<std::shared_ptr<RecordingSink>> answers_;
  std::vector<std::shared_ptr<Engine::Handle>> handles_;
};

TEST_F(Scheduling, ALongPromptAndAnswersShareTheMachine) {
  const std::string words = Words(2000);
  const nanoseconds alone = FirstToken(*Start(words, 1));
  StartAnswers(8);
  const auto begin = machine_->clock()->Now();
  const nanoseconds beside = FirstToken(*Start(words, 1));
  const auto end = machine_->clock()->Now();
  StopAnswers();
  EXPECT_LE(LongestGap(begin, end), 2 * SimulatedMachine::kDecodeStep);
  EXPECT_GE(LongestGap(begin, end), SimulatedMachine::kDecodeStep * 3 / 2) << "time is not used";
  // It comes in the middle of a decode step.
  EXPECT_LE(beside, alone * 5 / 2 + SimulatedMachine::kDecodeStep);
  EXPECT_GE(beside, alone * 2) << "the answers got less than their share";
}

TEST_F(Scheduling, AProbeHoldsNobodyUp) {
  const std::string id = engine_.OpenId({.policy = "random", .probe_tokens = kProbeTokensMax});
  StartAnswers(8);
  const auto begin = machine_->clock()->Now();
  const auto turn = Start(id, Words(500), 1, nullptr);
  EXPECT_TRUE(turn->Wait().ok());
  const auto end = machine_->clock()->Now();
  StopAnswers();
  EXPECT_EQ(turn->completed()->quality.probe_tokens, kProbeTokensMax);
  EXPECT_LE(LongestGap(begin, end), 2 * SimulatedMachine::kDecodeStep);
}

TEST_F(Scheduling, APictureAndAnswersShareTheMachine) {
  const auto picture = PlainImage(*LongTinyModel(), 0.4f);
  StartAnswers(2);
  const int before = machine_->picture_slices();
  const auto begin = machine_->clock()->Now();
  EXPECT_TRUE(Start(NextId(), "look", 1, nullptr, picture)->Wait().ok());
  const auto end = machine_->clock()->Now();
  StopAnswers();
  EXPECT_GT(machine_->picture_slices(), before + 3);
  // The first slice of the first picture there ever was is of a length nobody knows.
  const auto one = 16 * SimulatedMachine::kPictureRow + SimulatedMachine::kSlice;
  EXPECT_LE(LongestGap(begin, end), SimulatedMachine::kDecodeStep * 9 / 5 + one);
}

TEST_F(Scheduling, AShortPromptOvertakes) {
  const std::string words = Words(60);
  const nanoseconds alone = FirstToken(*Start(words, 1));
  machine_->StopAfter(5);
  const auto longer = Start(Words(4000), 1);
  machine_->AwaitStop();
  const auto shorter = Start(words, 1);
  machine_->Continue();
  // Slices go on until the engine next looks at its commands.
  EXPECT_LE(FirstToken(*shorter), alone + std::chrono::milliseconds(40));
  EXPECT_FALSE(longer->completed());
  EXPECT_TRUE(longer->Wait().ok());
}

TEST_F(Scheduling, PromptsOfLikeLengthKeepTheirOrder) {
  machine_->StopAfter(5);
  const auto first = Start(Words(1000), 1);
  machine_->AwaitStop();
  const auto second = Start(Words(600), 1);
  machine_->Continue();
  const nanoseconds of_second = FirstToken(*second);
  ASSERT_TRUE(first->completed());
  EXPECT_LT(first->completed()->timings.time_to_first_token, of_second);
}

// However many short ones come, the long one is through within 2.25 times its own work and what was
// begun by then.
TEST_F(Scheduling, AStreamOfShortPromptsDoesNotStopALongOne) {
  const nanoseconds alone = FirstToken(*Start(Words(4000), 1));
  const std::string words = Words(300);
  const nanoseconds one = FirstToken(*Start(words, 1));
  machine_->StopAfter(2);
  const auto longer = Start(Words(4000), 1);
  machine_->AwaitStop();
  std::vector<std::shared_ptr<RecordingSink>> stream;
  for (int i = 0; i < 48; ++i) stream.push_back(Start(words, 1));
  machine_->Continue();
  int before = 0;
  while (!longer->completed()) {
    EXPECT_TRUE(stream[static_cast<size_t>(before)]->Wait().ok());
    ++before;
    stream.push_back(Start(words, 1));
  }
  EXPECT_GT(before, 5) << "nobody overtook";
  EXPECT_LE(FirstToken(*longer), alone * 9 / 4 + 2 * one + std::chrono::milliseconds(40));
  for (const auto& turn : stream) EXPECT_TRUE(turn->Wait().ok());
}

TEST_F(Scheduling, OvertakingChangesNoAnswer) {
  const std::string long_words = Words(1500), short_words = Words(40);
  const auto picture = PlainImage(*LongTinyModel(), 0.7f);
  const auto long_alone = Start(NextId(), long_words, 12, nullptr, picture);
  ASSERT_TRUE(long_alone->Wait().ok());
  const auto short_alone = Start(short_words, 12);
  ASSERT_TRUE(short_alone->Wait().ok());
  StartAnswers(1);
  machine_->StopAfter(3);
  const auto longer = Start(NextId(), long_words, 12, nullptr, picture);
  machine_->AwaitStop();
  const auto shorter = Start(short_words, 12);
  machine_->Continue();
  EXPECT_TRUE(shorter->Wait().ok());
  EXPECT_TRUE(longer->Wait().ok());
  StopAnswers();
  EXPECT_LT(shorter->completed()->timings.time_to_first_token,
            longer->completed()->timings.time_to_first_token);
  EXPECT_EQ(longer->tokens(), long_alone->tokens());
  EXPECT_EQ(shorter->tokens(), short_alone->tokens());
}

// Whichever of two prompts under way is given up, the other goes on, and nothing stays behind.
TEST_F(Scheduling, EitherOfTwoPromptsCanBeCancelled) {
  const std::string long_words = Words(3000), short_words = Words(200);
  const auto expected = Start(short_words, 5);
  ASSERT_TRUE(expected->Wait().ok());
  for (const bool cancel_longer : {true, false}) {
    std::shared_ptr<Engine::Handle> of_longer, of_shorter;
    const std::string long_id = NextId(), short_id = NextId();
    machine_->StopAfter(3);
    const auto longer = Start(long_id, long_words, 5, &of_longer);
    machine_->AwaitStop();
    const auto shorter = Start(short_id, short_words, 5, &of_shorter);
    machine_->StopAtBeginning();  // of the short one: the long one's first layer takes longer
    machine_->Continue();
    machine_->AwaitStop();
    (cancel_longer ? of_longer : of_shorter)->Cancel(absl::CancelledError("enough"));
    machine_->Continue();
    EXPECT_EQ((cancel_longer ? longer : shorter)->Wait().code(), absl::StatusCode::kCancelled);
    EXPECT_TRUE((cancel_longer ? shorter : longer)->Wait().ok());
    if (!cancel_longer) {
      const auto again = Start(short_id, short_words, 5, nullptr);
      EXPECT_TRUE(again->Wait().ok());
      EXPECT_EQ(again->tokens(), expected->tokens());
    } else {
      EXPECT_EQ(shorter->tokens(), expected->tokens());
    }
    engine_.Close(long_id);
    engine_.Close(short_id);
  }
}

TEST_F(Scheduling, TwoPromptsStayWithinTheMemoryBound) {
  machine_->StopAfter(3);
  const auto longer = Start(Words(6000), 1);
  machine_->AwaitStop();
  const auto shorter = Start(Words(500), 1);
  machine_->Continue();
  EXPECT_TRUE(shorter->Wait().ok());
  EXPECT_LE(engine_.engine().gauges().workspace_bytes, engine_.engine().workspace_bound_bytes());
  EXPECT_TRUE(longer->Wait().ok());
}

}  // namespace
}  // namespace concertina::testing
