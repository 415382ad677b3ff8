// What a turn says about its fold, what a probe of it finds, and floors that raise the budget.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <mutex>

#include "tests/engine/engine_fixture.h"

namespace concertina::testing {
namespace {

constexpr char kLong[] =
    "Tell me the price of the red car in 2024, of the green one in 2023, and of the blue one that "
    "stood beside them; which of them is the fastest, and which one would you buy yourself?";
constexpr char kNext[] =
    "And what would the green one have cost a year later, if nobody had asked?";

CacheOptions Probed(std::string policy, Budget budget, int32_t tokens, double floor = 0) {
  CacheOptions cache;
  cache.policy = std::move(policy);
  cache.budget = budget;
  cache.probe_tokens = tokens;
  cache.min_quality = floor;
  return cache;
}

// A turn with log-probabilities: they differ when anything in the cache does.
std::shared_ptr<RecordingSink> Say(TestEngine& engine, const std::string& id,
                                   const std::string& text) {
  GenerateParams params = TestEngine::Params(id, text, 12);
  params.logprobs = true;
  auto sink = engine.Start(std::move(params));
  EXPECT_TRUE(sink->Wait().ok());
  return sink;
}

TurnQuality QualityOf(const RecordingSink& turn) { return turn.completed()->quality; }

TEST(Quality, EveryTurnSaysWhatItsFoldKept) {
  TestEngine engine;
  const std::string id = engine.OpenId(Probed("concertina", Budget::Ratio(0.2), 0));
  const auto turn = Say(engine, id, kLong);
  const FoldedEvent folded = *turn->folded();
  double sum = 0, lowest = 1;
  for (const FoldReport& layer : folded.layers) {
    sum += layer.mass_kept;
    lowest = std::min(lowest, layer.mass_kept);
  }
  const TurnQuality quality = QualityOf(*turn);
  EXPECT_TRUE(quality.measured);
  EXPECT_DOUBLE_EQ(quality.mass_kept_mean, sum / static_cast<double>(folded.layers.size()));
  EXPECT_EQ(quality.mass_kept_lowest, lowest);
  EXPECT_EQ(folded.layers[quality.lowest_layer].mass_kept, lowest);
  EXPECT_EQ(quality.budget_entries, folded.cache.budget_entries);
  EXPECT_EQ(quality.probe_tokens, 0);
  EXPECT_EQ(turn->completed()->timings.probe.count(), 0);
}

TEST(Quality, APolicyThatCountsNoAttentionSaysNothingAboutIt) {
  TestEngine engine;
  const auto turn = Say(engine, engine.OpenId(Probed("random", Budget::Ratio(0.2), 0)), kLong);
  EXPECT_FALSE(QualityOf(*turn).measured);
  const auto all = Say(engine, engine.OpenId(Probed("full", Budget::Ratio(1), 0)), kLong);
  EXPECT_TRUE(QualityOf(*all).measured);
  EXPECT_EQ(QualityOf(*all).mass_kept_lowest, 1);
}

// Of slices, too: the probe reads in other ones than the prompt.
TEST(Quality, WhereNothingIsLostNothingChanges) {
  for (const int32_t slice : {16, 256}) {
    EngineOptions options = TestEngine::DefaultOptions();
    options.prefill_slice_rows = slice;
    TestEngine engine(options);
    for (const char* policy : {"full", "concertina", "official"}) {
      const std::string id = engine.OpenId(Probed(policy, Budget::Ratio(1), 50));
      for (const float shade : {0.1F, 0.7F}) {
        const auto turn = engine.Turn(id, kLong, 6, PlainImage(*TinyModel(), shade));
        const TurnQuality quality = QualityOf(*turn);
        EXPECT_EQ(quality.probe_tokens, 50) << policy;
        EXPECT_EQ(quality.agreement(), 1) << policy;
        EXPECT_EQ(quality.kl_divergence(), 0) << policy;
        EXPECT_GT(turn->completed()->timings.probe.count(), 0);
      }
    }
  }
}

TEST(Quality, AProbeSeesWhatIsLost) {
  TestEngine engine;
  int agreeing = 0, probed = 0;
  double last = -1;
  for (const double ratio : {0.9, 0.05}) {
    const auto turn = Say(engine, engine.OpenId(Probed("random", Budget::Ratio(ratio), 64)), kLong);
    const TurnQuality quality = QualityOf(*turn);
    EXPECT_GT(quality.kl_divergence(), last);
    last = quality.kl_divergence();
    agreeing += quality.agreeing;
    probed += quality.probe_tokens;
  }
  EXPECT_LT(agreeing, probed);
  EXPECT_GT(agreeing, 0);
}

TEST(Quality, AShortPromptIsProbedWhole) {
  TestEngine engine;
  const auto turn = Say(engine, engine.OpenId(Probed("full", Budget::Ratio(1), 64)), "Hi.");
  ASSERT_LT(turn->completed()->prompt_tokens, 64);
  EXPECT_EQ(QualityOf(*turn).probe_tokens, turn->completed()->prompt_tokens);
  EXPECT_EQ(QualityOf(*turn).kl_divergence(), 0);
}

struct Kind {
  const char* policy;
  EntryType type;
};

class EveryKind : public ::testing::TestWithParam<Kind> {
 protected:
  static CacheOptions Cache(int32_t probe) {
    CacheOptions cache = Probed(GetParam().policy, Budget::Ratio(0.3), probe);
    cache.entry_type = GetParam().type;
    return cache;
  }
};

TEST_P(EveryKind, AProbeLeavesTheConversationAsItIs) {
  TestEngine engine;
  const std::string probed = engine.OpenId(Cache(20));
  const std::string alone = engine.OpenId(Cache(0));
  for (const char* text : {kLong, kNext, kLong}) {
    const auto a = Say(engine, probed, text), b = Say(engine, alone, text);
    EXPECT_EQ(a->tokens(), b->tokens());
    EXPECT_EQ(a->logprobs(), b->logprobs());
    EXPECT_EQ(a->completed()->cache.used_bytes, b->completed()->cache.used_bytes);
    EXPECT_EQ(a->completed()->cache.live_entries, b->completed()->cache.live_entries);
    const TurnQuality quality = QualityOf(*a);
    EXPECT_EQ(quality.probe_tokens, 20);
    EXPECT_TRUE(std::isfinite(quality.kl_divergence()));
    EXPECT_GE(quality.kl_divergence(), 0);
    EXPECT_FALSE(quality.raised_for_quality);
    EXPECT_FALSE(quality.below_min_quality);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Policies, EveryKind,
    ::testing::Values(Kind{"concertina", EntryType::kF32}, Kind{"concertina", EntryType::kBf16},
                      Kind{"concertina", EntryType::kInt8}, Kind{"concertina-hq", EntryType::kF32},
                      Kind{"elastic", EntryType::kF32}, Kind{"full", EntryType::kBf16},
                      Kind{"h2o", EntryType::kF32}, Kind{"local", EntryType::kBf16},
                      Kind{"official", EntryType::kF32}, Kind{"prefixkv", EntryType::kF32},
                      Kind{"random", EntryType::kInt8}, Kind{"snapkv", EntryType::kF32},
                      Kind{"keydiff", EntryType::kF32}));

class WidestScratch final : public EngineObserver {
 public:
  void OnGauges(const EngineGauges& gauges) override {
    bytes_ = std::max(bytes_.load(), gauges.workspace_bytes);
  }
  int64_t bytes() const { return bytes_; }

 private:
  std::atomic<int64_t> bytes_{0};
};

TEST(Quality, ScratchStaysWithinItsBound) {
  EngineOptions options = TestEngine::DefaultOptions();
  options.max_batch = 1;
  const auto observer = std::make_shared<WidestScratch>();
  TestEngine engine(options, TinyModel(), observer);
  const std::string id = engine.OpenId(Probed("prefixkv", Budget::Ratio(0.9), 64, 1));
  Say(engine, id, std::string(200, 'x'));
  Say(engine, id, kLong);
  EXPECT_GT(observer->bytes(), 0);
  EXPECT_LE(observer->bytes(), engine.engine().workspace_bound_bytes());
}

TEST(Quality, NeighboursSeeNothingOfIt) {
  TestEngine engine;
  const auto alone = Say(engine, engine.OpenId(), kLong);
  const std::string id = engine.OpenId();
  const std::string probed = engine.OpenId(Probed("random", Budget::Ratio(0.1), 64, 1));
  GenerateParams params = TestEngine::Params(id, kLong, 12);
  params.logprobs = true;
  const auto beside = engine.Start(TestEngine::Params(probed, kNext, 12));
  const auto turn = engine.Start(std::move(params));
  EXPECT_TRUE(beside->Wait().ok());
  EXPECT_TRUE(turn->Wait().ok());
  EXPECT_EQ(turn->tokens(), alone->tokens());
  EXPECT_EQ(turn->logprobs(), alone->logprobs());
}

// The budget a floor ended with, from what was asked for.
Budget RaisedRatio(double ratio, int32_t raises) {
  return Budget::Ratio(raises == 4 ? 1 : std::min(1.0, std::ldexp(ratio, raises)));
}

TEST(Floor, RaisesTheBudgetBeforeAnythingIsLost) {
  TestEngine engine;
  const std::string id = engine.OpenId(Probed("random", Budget::Ratio(0.1), 64, 1));
  const auto turn = Say(engine, id, kLong);
  const TurnQuality quality = QualityOf(*turn);
  EXPECT_GT(quality.raises, 0);
  EXPECT_TRUE(quality.raised_for_quality);
  EXPECT_EQ(quality.agreement(), 1);
  EXPECT_FALSE(quality.below_min_quality);
  EXPECT_EQ(turn->completed()->cache.budget.ratio, 0.1);
  // As if the session had had that budget from the beginning.
  const Budget budget = RaisedRatio(0.1, quality.raises);
  const auto same = Say(engine, engine.OpenId(Probed("random", budget, 0)), kLong);
  EXPECT_EQ(quality.budget_entries, QualityOf(*same).budget_entries);
  EXPECT_EQ(turn->tokens(), same->tokens());
  EXPECT_EQ(turn->logprobs(), same->logprobs());
  EXPECT_EQ(turn->completed()->cache.live_entries, same->completed()->cache.live_entries);
  // It holds from then on, until another one is asked for.
  EXPECT_TRUE(QualityOf(*Say(engine, id, "Go on.")).raised_for_quality);
  ASSERT_TRUE(engine.SetBudget(id, Budget::Ratio(1)).ok());
  EXPECT_FALSE(QualityOf(*Say(engine, id, "Go on.")).raised_for_quality);
  engine.Close(id);
}

TEST(Floor, ALaterTurnIsFoldedAgainFromWhereItBegan) {
  TestEngine engine;
  const std::string id = engine.OpenId(Probed("concertina", Budget::Tokens(500), 64, 1));
  EXPECT_FALSE(QualityOf(*Say(engine, id, kLong)).raised_for_quality);
  const std::string other = engine.OpenId(Probed("concertina", Budget::Tokens(500), 0));
  Say(engine, other, kLong);
  ASSERT_TRUE(engine.SetBudget(id, Budget::Tokens(60)).ok());
  const auto turn = Say(engine, id, kNext);
  const int32_t raises = QualityOf(*turn).raises;
  ASSERT_GT(raises, 0);
  ASSERT_LT(raises, 4) << "480 tokens are all";
  ASSERT_TRUE(engine.SetBudget(other, Budget::Tokens(60 << raises)).ok());
  const auto same = Say(engine, other, kNext);
  EXPECT_EQ(turn->tokens(), same->tokens());
  EXPECT_EQ(turn->logprobs(), same->logprobs());
  EXPECT_TRUE(engine.Close(id));
  EXPECT_TRUE(engine.Close(other));
  EXPECT_EQ(engine.Settled().pool_used_bytes, 0);
  EXPECT_EQ(engine.Settled().pool_reserved_bytes, 0);
}

TEST(Floor, ForksRebuildsAndTruncationsGoOnAlike) {
  TestEngine engine;
  const std::string id = engine.OpenId(Probed("random", Budget::Ratio(0.1), 64, 1));
  const auto first = Say(engine, id, kLong);
  ASSERT_GT(QualityOf(*first).raises, 0);
  const std::string fork = engine.Fork(id)->session_id;
  const std::string again = engine.Fork(id)->session_id;
  const auto next = Say(engine, id, kNext);
  EXPECT_EQ(Say(engine, fork, kNext)->logprobs(), next->logprobs());
  ASSERT_TRUE(engine.Evict(again).ok());
  EXPECT_EQ(Say(engine, again, kNext)->logprobs(), next->logprobs());
  ASSERT_TRUE(engine.Truncate(id, 1).ok());
  EXPECT_EQ(Say(engine, id, kNext)->logprobs(), next->logprobs());
  for (const std::string& each : {id, fork, again}) engine.Close(each);
  EXPECT_EQ(engine.Settled().pool_used_bytes, 0);
  EXPECT_EQ(engine.Settled().pool_reserved_bytes, 0);
}

TEST(Floor, ACapInBytesIsNeverRaised) {
  TestEngine engine;
  const std::string id = engine.OpenId(Probed("random", Budget::Bytes(20'000), 64, 1));
  const auto turn = Say(engine, id, kLong);
  const TurnQuality quality = QualityOf(*turn);
  EXPECT_TRUE(quality.below_min_quality);
  EXPECT_FALSE(quality.raised_for_quality);
  EXPECT_EQ(quality.raises, 0);
  EXPECT_LE(turn->completed()->cache.used_bytes, 20'000);
}

TEST(Floor, IsMissedWhereThePoolHasNoRoom) {
  TestEngine wide;
  const int64_t full = Say(wide, wide.OpenId(Probed("full", Budget::Ratio(1), 0)), kLong)
                           ->completed()
                           ->cache.full_bytes;
  EngineOptions options = TestEngine::DefaultOptions();
  options.pool_bytes = std::max<int64_t>(full / 2, 65'536);
  ASSERT_LT(options.pool_bytes, full);
  TestEngine engine(options);
  const std::string id = engine.OpenId(Probed("random", Budget::Ratio(0.05), 64, 1));
  const auto turn = Say(engine, id, kLong);
  const TurnQuality quality = QualityOf(*turn);
  EXPECT_TRUE(quality.below_min_quality);
  EXPECT_LT(quality.raises, 4);
  const Budget budget = RaisedRatio(0.05, quality.raises);
  const auto same = Say(wide, wide.OpenId(Probed("random", budget, 0)), kLong);
  EXPECT_EQ(turn->logprobs(), same->logprobs());
  EXPECT_TRUE(engine.Close(id));
  EXPECT_EQ(engine.Settled().pool_reserved_bytes, 0);
}

// Cancels a turn as soon as its probe has begun: when more rows went through than the prompt's.
class CancelsInProbe final : public EngineObserver {
 public:
  void OnPrefillSlice(int64_t rows, int64_t) override {
    std::unique_lock lock(mutex_);
    if (prompt_rows_ == 0) return;
    changed_.wait(lock, [&] { return handle_ != nullptr; });
    rows_ += rows;
    if (rows_ > prompt_rows_) handle_->Cancel(absl::CancelledError("enough"));
  }
  // Before the turn, and when it has a handle; its first slice waits for that.
  void Expect(int64_t prompt_rows) {
    std::lock_guard lock(mutex_);
    prompt_rows_ = prompt_rows;
  }
  void Cancel(std::shared_ptr<Engine::Handle> handle) {
    std::lock_guard lock(mutex_);
    handle_ = std::move(handle);
    changed_.notify_all();
  }
  void Forget() {
    std::lock_guard lock(mutex_);
    prompt_rows_ = 0;
    handle_.reset();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<Engine::Handle> handle_;
  int64_t rows_ = 0, prompt_rows_ = 0;
};

TEST(Quality, ACancelledProbeTakesItsPromptAlong) {
  const auto observer = std::make_shared<CancelsInProbe>();
  TestEngine engine(TestEngine::DefaultOptions(), TinyModel(), observer);
  const CacheOptions cache = Probed("concertina", Budget::Ratio(0.2), 8, 0.01);
  const std::string id = engine.OpenId(cache), other = engine.OpenId(cache);
  Say(engine, id, kLong);
  Say(engine, other, kLong);
  const std::string measuring = engine.Fork(id)->session_id;
  const int64_t tokens = Say(engine, measuring, "And why is that?")->completed()->prompt_tokens;
  observer->Expect(tokens * TinyModel()->config.layers);
  std::shared_ptr<Engine::Handle> handle;
  const auto sink = engine.Start(TestEngine::Params(id, "And why is that?", 12), &handle);
  observer->Cancel(handle);
  EXPECT_EQ(sink->Wait().code(), absl::StatusCode::kCancelled);
  EXPECT_FALSE(sink->folded());
  observer->Forget();
  EXPECT_EQ(engine.Get(id)->turns, 1);
  EXPECT_EQ(Say(engine, id, kNext)->logprobs(), Say(engine, other, kNext)->logprobs());
}

}  // namespace
}  // namespace concertina::testing
