// Sessions together: batch independence, cancellation, rebuilds, limits.
#include <gtest/gtest.h>

#include <mutex>
#include <semaphore>
#include <thread>

#include "server/engine/errors.h"
#include "tests/engine/engine_fixture.h"

namespace concertina::testing {
namespace {

const char* const kQuestions[] = {"What is shown in this image?", "Where is the car?",
                                  "How many objects are there?",
                                  "Is it red, or what colour is it?"};

std::vector<std::vector<int32_t>> Converse(TestEngine& engine, int who, int turns) {
  const std::string id = engine.OpenId();
  std::vector<std::vector<int32_t>> answers;
  for (int turn = 0; turn < turns; ++turn) {
    auto image = turn == 0 ? PlainImage(*TinyModel(), 0.2f * static_cast<float>(who)) : nullptr;
    answers.push_back(engine.Turn(id, kQuestions[(who + turn) % 4], 10 + who, image)->tokens());
  }
  engine.Close(id);
  return answers;
}

TEST(Concurrency, TokensEqualSoloRuns) {
  EngineOptions options = TestEngine::DefaultOptions();
  options.prefill_slice_rows = 64;
  options.prefill_step = std::chrono::milliseconds(0);  // one slice
  std::vector<std::vector<std::vector<int32_t>>> solo(8), together(8);
  {
    TestEngine engine(options);
    for (int who = 0; who < 8; ++who) solo[who] = Converse(engine, who, 3);
  }
  TestEngine engine(options);
  std::vector<std::thread> threads;
  for (int who = 0; who < 8; ++who) {
    threads.emplace_back([&, who] { together[who] = Converse(engine, who, 3); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(solo, together);
  EXPECT_EQ(engine.Settled().pool_used_bytes, 0);
}

TEST(Concurrency, CancelKeepsWhatWasDelivered) {
  TestEngine engine(TestEngine::DefaultOptions(), TinyModel(), std::make_shared<UnhurriedSteps>());
  const std::string id = engine.OpenId();
  std::shared_ptr<Engine::Handle> handle;
  auto turn = engine.Start(TestEngine::Params(id, kQuestions[0], 400), &handle);
  turn->WaitForTokens(3);
  handle->Cancel(absl::CancelledError("by the client"));
  EXPECT_EQ(turn->Wait().code(), absl::StatusCode::kCancelled);
  EXPECT_LT(turn->tokens().size(), 400u);
  auto session = engine.Get(id);
  ASSERT_TRUE(session.ok());
  EXPECT_FALSE(session->busy);
  EXPECT_EQ(session->turns, 1);
  // The last delivered token is fed at the start of the next turn.
  auto next = engine.Turn(id, kQuestions[1], 5);
  ASSERT_TRUE(next->completed());
  EXPECT_EQ(next->completed()->turn, 2);
  EXPECT_EQ(next->completed()->carried_tokens, session->cache.tokens_seen);
}

// Stops the engine at a piece of work that a test names: a slice of a prompt or a decode step.
class StoppingObserver final : public EngineObserver {
 public:
  void OnPrefillSlice(int64_t, int64_t) override { Work(); }
  void OnBatch(int64_t) override { Work(); }

  // At the `count`-th from now on; AwaitStop returns when it is there.
  void StopAfter(int count) {
    const std::lock_guard lock(mutex_);
    stop_in_ = count;
  }
  void AwaitStop() { stopped_.acquire(); }
  void Continue() { go_on_.release(); }
  int done() const {
    const std::lock_guard lock(mutex_);
    return done_;
  }

 private:
  void Work() {
    {
      const std::lock_guard lock(mutex_);
      ++done_;
      if (stop_in_ == 0 || --stop_in_ > 0) return;
    }
    stopped_.release();
    go_on_.acquire();
  }

  mutable std::mutex mutex_;
  int stop_in_ = 0, done_ = 0;
  std::binary_semaphore stopped_{0}, go_on_{0};
};

struct Abandoning {
  EngineOptions options = TestEngine::DefaultOptions();
  std::shared_ptr<StoppingObserver> observer = std::make_shared<StoppingObserver>();

  explicit Abandoning(int32_t slice_rows) {
    options.prefill_slice_rows = slice_rows;
    options.prefill_step = std::chrono::milliseconds(0);  // one slice
  }

  // Gives a turn up at a piece of its work, before it has said anything.
  void GiveUp(TestEngine& engine, GenerateParams params, int piece) const {
    std::shared_ptr<Engine::Handle> handle;
    observer->StopAfter(piece);
    const auto turn = engine.Start(std::move(params), &handle);
    observer->AwaitStop();
    handle->Cancel(absl::CancelledError("by the client"));
    observer->Continue();
    EXPECT_EQ(turn->Wait().code(), absl::StatusCode::kCancelled) << piece;
    EXPECT_TRUE(turn->tokens().empty()) << piece;
  }
};

std::string ManyWords(int times) {
  std::string words;
  for (int i = 0; i < times; ++i) words += " the car is red";
  return words;
}

TEST(Concurrency, AbandonedPrefillLeavesNoTrace) {
  const Abandoning abandoning(64);
  TestEngine engine(abandoning.options, TinyModel(), abandoning.observer);
  const std::string id = engine.OpenId(), other = engine.OpenId(), third = engine.OpenId();
  const auto image = PlainImage(*TinyModel(), 0.3f);
  constexpr int kAnswer = 200;
  for (const auto& session : {id, other, third}) {
    engine.Turn(session, kQuestions[2], kAnswer, image);
  }
  const std::string words = ManyWords(60);
  const int before = abandoning.observer->done();
  engine.Turn(third, words, 1);
  const int slices = abandoning.observer->done() - before;
  ASSERT_GT(slices, 3);
  // The first time the prompt itself is given up, from then on a rebuild, most of which is feeding
  // the answer again.
  for (int piece = 1; piece <= slices; ++piece) {
    abandoning.GiveUp(engine, TestEngine::Params(id, words, 4), piece);
  }
  for (const int piece : {kAnswer / 4, kAnswer / 2, kAnswer}) {
    abandoning.GiveUp(engine, TestEngine::Params(id, words, 4), piece);
  }
  ASSERT_EQ(engine.Get(id)->turns, 1);
  auto a = engine.Turn(id, kQuestions[3], 20);
  auto b = engine.Turn(other, kQuestions[3], 20);
  EXPECT_EQ(a->tokens(), b->tokens());
  EXPECT_EQ(a->completed()->cache.used_bytes, b->completed()->cache.used_bytes);
  EXPECT_EQ(a->completed()->cache.tokens_seen, b->completed()->cache.tokens_seen);
}

// Given up while the first layer was still in prefill: nothing was folded, so the cache is kept,
// but the prompt had prepared the session for itself.
TEST(Concurrency, APrefillAbandonedBeforeItsFirstFoldLeavesNoTrace) {
  const Abandoning abandoning(1);
  TestEngine engine(abandoning.options, TinyModel(), abandoning.observer);
  const auto image = PlainImage(*TinyModel(), 0.3f);
  // With the picture the adapter would act from then on; the long prompt needs the positions
  // mapped.
  for (const int32_t answer : {20, 300}) {
    const std::string id = engine.OpenId(), twin = engine.OpenId();
    for (const auto& session : {id, twin}) engine.Turn(session, kQuestions[2], answer);
    const auto picture = answer == 20 ? image : nullptr;
    abandoning.GiveUp(engine, TestEngine::Params(id, ManyWords(30), 4, picture), 1);
    auto a = engine.Turn(id, kQuestions[3], 20);
    auto b = engine.Turn(twin, kQuestions[3], 20);
    EXPECT_EQ(a->tokens(), b->tokens()) << answer;
    EXPECT_EQ(a->completed()->cache.next_position, b->completed()->cache.next_position) << answer;
  }
}

TEST(Concurrency, OneTurnAtATimePerSession) {
  TestEngine engine(TestEngine::DefaultOptions(), TinyModel(), std::make_shared<UnhurriedSteps>());
  const std::string id = engine.OpenId();
  std::shared_ptr<Engine::Handle> handle;
  auto first = engine.Start(TestEngine::Params(id, kQuestions[0], 400), &handle);
  first->WaitForTokens(1);
  EXPECT_EQ(ReasonOf(engine.Start(TestEngine::Params(id, "x", 1))->Wait()), reason::kTurnInFlight);
  EXPECT_TRUE(engine.Close(id));
  EXPECT_EQ(ReasonOf(first->Wait()), reason::kSessionClosed);
  EXPECT_FALSE(engine.Close(id));
  EXPECT_EQ(engine.Settled().pool_used_bytes, 0);
}

TEST(Concurrency, LimitsAreNamed) {
  EngineOptions options = TestEngine::DefaultOptions();
  options.max_sessions = 2;
  options.max_queued_turns = 1;
  options.max_batch = 1;
  TestEngine engine(options, TinyModel(), std::make_shared<UnhurriedSteps>());
  const std::string a = engine.OpenId(), b = engine.OpenId();
  EXPECT_EQ(ReasonOf(engine.Open().status()), reason::kSessionLimit);
  std::shared_ptr<Engine::Handle> first, second;
  auto running = engine.Start(TestEngine::Params(a, kQuestions[0], 400), &first);
  running->WaitForTokens(1);
  auto waiting = engine.Start(TestEngine::Params(b, kQuestions[0], 400), &second);
  ScoreParams score{.prompt = {1, 2, 3}, .continuation = {4, 5}};
  auto refused = engine.Score(score).status();
  EXPECT_EQ(ReasonOf(refused), reason::kQueueFull);
  EXPECT_TRUE(RetryAfterMsOf(refused));
  second->Cancel(absl::CancelledError("by the client"));
  EXPECT_EQ(waiting->Wait().code(), absl::StatusCode::kCancelled);
  first->Cancel(absl::CancelledError("by the client"));
  EXPECT_EQ(running->Wait().code(), absl::StatusCode::kCancelled);
}

TEST(Concurrency, ContextEndRefusesOrRebases) {
  TestEngine engine;
  CacheOptions refuse;
  refuse.policy = "elastic";
  const std::string strict = engine.OpenId(refuse);
  absl::Status last;
  int turns = 0;
  while (last.ok() && turns < 50) {
    last = engine.Start(TestEngine::Params(strict, kQuestions[turns % 4], 20))->Wait();
    ++turns;
  }
  EXPECT_EQ(ReasonOf(last), reason::kContextExhausted);
  EXPECT_LE(engine.Get(strict)->cache.next_position, 512);

  CacheOptions rebase;
  rebase.budget = Budget::Tokens(48);
  const std::string endless = engine.OpenId(rebase);
  for (int i = 0; i < 1000; ++i) {
    auto turn = engine.Turn(endless, kQuestions[i % 4], 4);
    ASSERT_TRUE(turn->completed()) << i;
    const CacheSnapshot cache = turn->completed()->cache;
    ASSERT_LE(cache.next_position, 512);
    ASSERT_LE(cache.live_entries, cache.budget_entries);
    ASSERT_EQ(turn->tokens().size(), 4u);
  }
  EXPECT_GT(engine.Get(endless)->cache.tokens_seen, 3 * 512);
}

TEST(Concurrency, DrainRefusesNewWorkAndFinishesOld) {
  TestEngine engine;
  const std::string id = engine.OpenId();
  auto turn = engine.Start(TestEngine::Params(id, kQuestions[0], 50));
  turn->WaitForTokens(1);
  EXPECT_TRUE(engine.engine().Drain(std::chrono::seconds(20)));
  EXPECT_TRUE(turn->Wait().ok());
  EXPECT_EQ(ReasonOf(engine.Open().status()), reason::kDraining);
  EXPECT_EQ(ReasonOf(engine.Start(TestEngine::Params(id, "x", 1))->Wait()), reason::kDraining);
}

}  // namespace
}  // namespace concertina::testing
