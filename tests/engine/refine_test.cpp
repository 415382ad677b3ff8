// Prompts that are read a second time, before their answers or while the session is idle.
#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "server/engine/errors.h"
#include "tests/engine/engine_fixture.h"

namespace concertina::testing {
namespace {

constexpr char kLong[] =
    "Tell me the price of the red car in 2024, of the green one in 2023, and of the blue one that "
    "stood beside them.";
constexpr char kNext[] = "And what would the green one have cost?";

CacheOptions Repeating(bool when_idle, Budget budget = Budget::Ratio(0.2)) {
  CacheOptions cache;
  cache.policy = "concertina-hq";
  cache.policy_options.repeat_when_idle = when_idle;
  cache.budget = budget;
  return cache;
}

// With log-probabilities: they differ when anything in the cache does.
GenerateParams Asking(const std::string& id, const std::string& text,
                      std::shared_ptr<const PreparedImage> image = nullptr) {
  GenerateParams params = TestEngine::Params(id, text, 12, std::move(image));
  params.logprobs = true;
  return params;
}

std::vector<float> Say(TestEngine& engine, const std::string& id, const std::string& text,
                       std::shared_ptr<const PreparedImage> image = nullptr) {
  const auto sink = engine.Start(Asking(id, text, std::move(image)));
  EXPECT_TRUE(sink->Wait().ok());
  return sink->logprobs();
}

// Until all its turns were read a second time.
void WaitUntilRefined(TestEngine& engine, const std::string& id, int32_t turns) {
  while (engine.Get(id)->repeated_turns < turns) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// Holds the engine once a turn has ended and more than `rows` rows of prompts were read since,
// until it is let go.
class Gate final : public EngineObserver {
 public:
  explicit Gate(int64_t rows = 0) : rows_(rows) {}
  void OnTurnEnd(std::string_view, const TurnTimings&, int64_t, double) override {
    std::lock_guard lock(mutex_);
    armed_ = true;
  }
  void OnPrefillSlice(int64_t rows, int64_t) override {
    std::unique_lock lock(mutex_);
    if (!armed_ || open_ || (read_ += rows) <= rows_) return;
    held_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
  }
  void WaitUntilHeld() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return held_; });
  }
  void Open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  const int64_t rows_;
  int64_t read_ = 0;
  bool armed_ = false, held_ = false, open_ = false;
};

// No room for a second cache beside a session's.
EngineOptions Cramped() {
  EngineOptions options = TestEngine::DefaultOptions();
  options.pool_bytes = 65536;
  return options;
}

TEST(Repetition, ComesBeforeTheAnswerUnlessItIsToWait) {
  TestEngine engine;
  const std::string id = engine.OpenId(Repeating(false));
  CacheOptions other;
  other.policy = "concertina";
  const std::string once = engine.OpenId(other);
  for (int32_t turn = 1; turn <= 3; ++turn) {
    const auto image = turn == 2 ? PlainImage(*TinyModel(), 0.3F) : nullptr;
    EXPECT_NE(Say(engine, id, kLong, image), Say(engine, once, kLong, image));
    EXPECT_EQ(engine.Get(id)->repeated_turns, turn);
    EXPECT_EQ(engine.Get(id)->cache.tokens_seen, engine.Get(once)->cache.tokens_seen);
    EXPECT_EQ(engine.Get(id)->cache.next_position, engine.Get(once)->cache.next_position);
    EXPECT_EQ(engine.Get(id)->cache.live_entries, engine.Get(once)->cache.live_entries);
  }
  EXPECT_EQ(engine.Get(once)->repeated_turns, 0);
}

TEST(Repetition, DoesNotDependOnSlicesOrNeighbours) {
  TestEngine engine;
  const std::string alone = engine.OpenId(Repeating(false));
  const std::vector<float> expected = Say(engine, alone, kLong);
  EngineOptions options = TestEngine::DefaultOptions();
  options.prefill_slice_rows = 16;
  TestEngine sliced(options, TinyModel(), std::make_shared<UnhurriedSteps>());
  auto beside = sliced.Start(TestEngine::Params(sliced.OpenId(), kNext, 200));
  beside->WaitForTokens(1);
  EXPECT_EQ(Say(sliced, sliced.OpenId(Repeating(false)), kLong), expected);
  ASSERT_TRUE(beside->Wait().ok());
}

// Cancelled in the repetition's rows, the turn leaves no trace: no layer was folded yet.
TEST(Repetition, ACancelInItLeavesTheSessionAsItWas) {
  // Of the first layer: all of the prompt and a part of the repetition.
  constexpr int64_t kRows = 48;
  const auto gate = std::make_shared<Gate>(kRows);
  EngineOptions options = TestEngine::DefaultOptions();
  options.prefill_slice_rows = 16;
  TestEngine engine(options, TinyModel(), gate);
  TestEngine free;
  const std::string id = engine.OpenId(Repeating(false));
  const std::string twin = free.OpenId(Repeating(false));
  EXPECT_EQ(Say(engine, id, kLong), Say(free, twin, kLong));
  std::shared_ptr<Engine::Handle> handle;
  const auto cancelled = engine.Start(Asking(id, kNext), &handle);
  gate->WaitUntilHeld();
  handle->Cancel(absl::CancelledError("enough"));
  gate->Open();
  EXPECT_EQ(cancelled->Wait().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(engine.Get(id)->turns, 1);
  EXPECT_FALSE(engine.Get(id)->evicted);
  const auto again = engine.Start(Asking(id, kNext));
  ASSERT_TRUE(again->Wait().ok());
  EXPECT_EQ(again->logprobs(), Say(free, twin, kNext));
  EXPECT_LT(again->completed()->prompt_tokens, kRows);
  EXPECT_GT(2 * again->completed()->prompt_tokens, kRows + 16);
}

TEST(WhenIdle, ARefinedSessionIsWhatItsTranscriptGives) {
  TestEngine engine;
  for (const Budget& budget : {Budget::Ratio(0.2), Budget::Tokens(20), Budget::Bytes(30000)}) {
    const std::string id = engine.OpenId(Repeating(true, budget));
    for (int32_t turn = 0; turn < 3; ++turn) {
      Say(engine, id, turn == 1 ? kNext : kLong,
          turn == 1 ? PlainImage(*TinyModel(), 0.6F) : nullptr);
      WaitUntilRefined(engine, id, turn + 1);
      if (budget.unit == Budget::Unit::kBytes) {
        EXPECT_LE(engine.Get(id)->cache.used_bytes, budget.bytes);
      }
    }
    const std::string fork = engine.Fork(id)->session_id;
    const std::string evicted = engine.Fork(id)->session_id;
    ASSERT_TRUE(engine.Evict(evicted).ok());
    EXPECT_EQ(engine.Get(fork)->repeated_turns, 3);
    const CacheSnapshot before = engine.Get(id)->cache;
    EXPECT_EQ(before.tokens_seen, engine.Get(evicted)->cache.tokens_seen);
    const std::vector<float> next = Say(engine, id, kNext);
    EXPECT_EQ(Say(engine, fork, kNext), next);
    EXPECT_EQ(Say(engine, evicted, kNext), next);
    ASSERT_TRUE(engine.Truncate(evicted, 3).ok());
    EXPECT_EQ(Say(engine, evicted, kNext), next);
    for (const std::string& each : {id, fork, evicted}) engine.Close(each);
  }
  EXPECT_EQ(engine.Settled().pool_used_bytes, 0);
  EXPECT_EQ(engine.Settled().pool_reserved_bytes, 0);
}

// What a session says whose pool has no room for a second cache, so that the first readings stand.
// Engines with work of their own do not run beside each other: they share the model's workspace.
struct ReadOnce {
  std::vector<float> first, next;
  int64_t kept = 0;

  ReadOnce() {
    TestEngine cramped(Cramped());
    const std::string id = cramped.OpenId(Repeating(true));
    first = Say(cramped, id, kLong);
    kept = cramped.Get(id)->cache.live_entries;
    next = Say(cramped, id, kNext);
    EXPECT_EQ(cramped.Get(id)->repeated_turns, 0);
  }
};

TEST(WhenIdle, TakesNoRoomFromOthersAndChangesWhatIsKept) {
  const ReadOnce once;
  TestEngine engine;
  const std::string id = engine.OpenId(Repeating(true));
  EXPECT_EQ(Say(engine, id, kLong), once.first) << "the first answer waits for nothing";
  WaitUntilRefined(engine, id, 1);
  EXPECT_EQ(engine.Get(id)->cache.live_entries, once.kept);
  EXPECT_NE(Say(engine, id, kNext), once.next);
}

TEST(WhenIdle, ATurnEndsItAndGoesOnFromWhatThereWas) {
  const ReadOnce once;
  const auto gate = std::make_shared<Gate>();
  TestEngine engine(TestEngine::DefaultOptions(), TinyModel(), gate);
  const std::string id = engine.OpenId(Repeating(true));
  EXPECT_EQ(Say(engine, id, kLong), once.first);
  gate->WaitUntilHeld();
  const auto turn = engine.Start(Asking(id, kNext));
  gate->Open();
  ASSERT_TRUE(turn->Wait().ok());
  EXPECT_EQ(turn->logprobs(), once.next);
  WaitUntilRefined(engine, id, 2);  // begun again
}

struct Change {
  const char* name;
  std::function<void(TestEngine&, const std::string& id)> make;
};

// Whichever comes first, what is left is in order.
TEST(WhenIdle, SessionsMayChangeMeanwhile) {
  const Change changes[] = {
      {"close", [](TestEngine& engine, const std::string& id) { EXPECT_TRUE(engine.Close(id)); }},
      {"truncate",
       [](TestEngine& engine, const std::string& id) { EXPECT_TRUE(engine.Truncate(id, 0).ok()); }},
      {"evict",
       [](TestEngine& engine, const std::string& id) { EXPECT_TRUE(engine.Evict(id).ok()); }},
      {"budget",
       [](TestEngine& engine, const std::string& id) {
         EXPECT_TRUE(engine.SetBudget(id, Budget::Tokens(9)).ok());
       }},
      {"fork",
       [](TestEngine& engine, const std::string& id) {
         const std::string fork = engine.Fork(id)->session_id;
         Say(engine, fork, kNext);
         engine.Close(fork);
       }},
      {"open", [](TestEngine& engine, const std::string&) { engine.Close(engine.OpenId()); }},
  };
  for (const Change& change : changes) {
    const auto gate = std::make_shared<Gate>();
    TestEngine engine(TestEngine::DefaultOptions(), TinyModel(), gate);
    const std::string id = engine.OpenId(Repeating(true));
    Say(engine, id, kLong);
    gate->WaitUntilHeld();
    std::thread command([&] { change.make(engine, id); });
    gate->Open();
    command.join();
    if (engine.Get(id).ok()) {
      Say(engine, id, kNext);
      EXPECT_TRUE(engine.Close(id)) << change.name;
    }
    const EngineGauges gauges = engine.Settled();
    EXPECT_EQ(gauges.pool_used_bytes, 0) << change.name;
    EXPECT_EQ(gauges.pool_reserved_bytes, 0) << change.name;
    EXPECT_EQ(gauges.requests_running, 0) << change.name;
  }
}

TEST(WhenIdle, AHistoryIsRefinedToo) {
  TestEngine engine;
  OpenSessionParams params;
  params.cache = Repeating(true);
  params.history = {{HistoryMessage::Role::kUser, {{.text = kLong}}},
                    {HistoryMessage::Role::kAssistant, {{.text = "A thousand."}}}};
  const auto opened = engine.Open(params);
  ASSERT_TRUE(opened.ok()) << opened.status();
  WaitUntilRefined(engine, opened->session_id, 1);
  params.cache = Repeating(false);
  const auto at_once = engine.Open(params);
  ASSERT_TRUE(at_once.ok());
  EXPECT_EQ(at_once->repeated_turns, 1);
  // The first token of an answer comes of what was there before its prompt is folded.
  EXPECT_EQ(Say(engine, opened->session_id, kNext).front(),
            Say(engine, at_once->session_id, kNext).front());
}

}  // namespace
}  // namespace concertina::testing
