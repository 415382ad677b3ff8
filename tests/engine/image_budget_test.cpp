// Pictures with a budget of their own through runner and engine: what attention makes of merged
// entries, and what evictions, forks and truncations leave of them.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "cache/session_cache.h"
#include "server/engine/errors.h"
#include "server/engine/host_runner.h"
#include "tests/engine/engine_fixture.h"
#include "tests/support/tiny_llama.h"

namespace concertina::testing {
namespace {

// Of a first layer, the attention that a query pays to each entry.
class MassTest : public ::testing::TestWithParam<EntryType> {
 protected:
  static constexpr int32_t kTokens = 40;

  void SetUp() override {
    const LanguageSource source{.weights =
                                    std::make_shared<MemorySource>(TinyLlama(TinyLlamaConfig()))};
    auto language = LanguageModel::Load(TinyLlamaConfig(), source, MatrixType::kF32);
    ASSERT_TRUE(language.ok()) << language.status();
    language_ = *std::move(language);
    const LanguageConfig& config = language_->config();
    shape_ = {config.layers, config.kv_heads, config.head_dim};
    auto pool = PagePool::Create(8 << 20, PageBytesFor(shape_));
    ASSERT_TRUE(pool.ok()) << pool.status();
    pool_ = *std::move(pool);
    runner_ = std::make_unique<HostRunner>(*language_, pool_.get());
    cache_ = Open(/*merge=*/true);
    Prompt(kTokens, {{8, 16}, {28, 9}});
    ASSERT_EQ(cache_->OldEntries(0), kTokens - 12 - 7);
  }

  // S counts a prompt's own queries only.
  std::unique_ptr<ConversationCache> Open(bool merge) {
    auto cache = runner_->MakeCache({.policy = "snapkv",
                                     .entry_type = GetParam(),
                                     .budget = Budget::Ratio(1),
                                     .images = {.share = 0.25, .merge = merge}});
    EXPECT_TRUE(cache.ok()) << cache.status();
    return *std::move(cache);
  }

  void Read(ConversationCache& cache, const std::vector<int32_t>& ids,
            const std::vector<TokenSpan>& pictures) {
    std::vector<float> x(ids.size() * language_->config().hidden);
    ASSERT_TRUE(runner_->Embed(ids, x.data()).ok());
    const auto pass = runner_->MakePass(cache, std::move(x), {.pictures = pictures});
    ASSERT_TRUE(pass->Begin().ok());
    while (!pass->finished()) ASSERT_TRUE(pass->Step(16).ok());
  }

  void Prompt(int32_t count, const std::vector<TokenSpan>& pictures) {
    Read(*cache_, SomeIds(language_->config(), count), pictures);
  }

  SessionCache& session() { return static_cast<SessionCache&>(*cache_); }
  const HeadCache& head(int at) { return std::as_const(session()).Head(0, at); }

  // In birth order, by the token that comes next, of one KV head; the last is its own.
  std::vector<double> Expected(int32_t token, int at) {
    const LanguageConfig& config = language_->config();
    std::vector<float> x(static_cast<size_t>(config.hidden));
    language_->Embed({&token, 1}, x.data());
    const auto position = static_cast<int32_t>(cache_->next_position());
    const LanguageModel::Projected projected = language_->Qkv(0, x.data(), 1, &position, nullptr);
    std::vector<std::vector<float>> keys;
    std::vector<double> masses;
    for (const int32_t slot : head(at).SlotsInBirthOrder()) {
      head(at).LoadKey(slot, keys.emplace_back(config.head_dim).data());
      masses.push_back(head(at).Meta(slot).mass);
    }
    const float* own = projected.k + at * config.head_dim;
    keys.emplace_back(own, own + config.head_dim);
    masses.push_back(1);
    const int64_t group = config.heads / config.kv_heads;
    std::vector<double> shares(keys.size());
    for (int64_t g = 0; g < group; ++g) {
      const float* q = projected.q + (at * group + g) * config.head_dim;
      std::vector<double> weights;
      double sum = 0;
      for (size_t i = 0; i < keys.size(); ++i) {
        double dot = 0;
        for (int d = 0; d < config.head_dim; ++d) {
          dot += static_cast<double>(q[d]) * static_cast<double>(keys[i][d]);
        }
        // An entry that stands for m tokens gets what m of its like would get.
        weights.push_back(masses[i] *
                          std::exp(dot * static_cast<double>(config.attention_scale())));
        sum += weights.back();
      }
      for (size_t i = 0; i < keys.size(); ++i) {
        shares[i] += weights[i] / sum / static_cast<double>(group);
      }
    }
    return shares;
  }

  static double Error() { return GetParam() == EntryType::kF32 ? 2e-3 : 3e-2; }

  std::unique_ptr<LanguageModel> language_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<HostRunner> runner_;
  std::unique_ptr<ConversationCache> cache_;
  CacheShape shape_;
};

TEST_P(MassTest, PromptsPayEntriesByWhatTheyStandFor) {
  std::vector<std::vector<double>> expected;
  for (int at = 0; at < shape_.kv_heads; ++at) expected.push_back(Expected(0, at));
  Prompt(1, {});
  for (int at = 0; at < shape_.kv_heads; ++at) {
    size_t i = 0;
    int merged = 0;
    for (const int32_t slot : head(at).SlotsInBirthOrder()) {
      const EntryMeta meta = head(at).Meta(slot);
      const double share = expected[at][i++];
      EXPECT_NEAR(UnpackScore(meta.score), share, share * Error()) << meta.birth;
      merged += meta.mass > 1 ? 1 : 0;
    }
    EXPECT_GE(merged, 2);
  }
}

TEST_P(MassTest, DecodedTokensDoSo) {
  cache_->BeginDecode();
  std::vector<std::vector<double>> expected;
  std::vector<std::vector<float>> before;
  for (int at = 0; at < shape_.kv_heads; ++at) {
    expected.push_back(Expected(7, at));
    const float* scores = session().LiveScores(0, at);
    before.emplace_back(scores, scores + head(at).entries());
    before.back().push_back(0);
  }
  std::vector<DecodeRow> rows(1);
  rows[0] = {.cache = cache_.get(), .token = 7, .adapter = false, .wants_logits = true};
  runner_->Decode(rows);
  ASSERT_TRUE(rows[0].status.ok()) << rows[0].status;
  for (int at = 0; at < shape_.kv_heads; ++at) {
    const std::vector<int32_t> slots = head(at).SlotsInBirthOrder();
    ASSERT_EQ(slots.size(), expected[at].size());
    for (size_t i = 0; i < slots.size(); ++i) {
      const double paid = session().LiveScores(0, at)[slots[i]] - before[at][slots[i]];
      EXPECT_NEAR(paid, expected[at][i], expected[at][i] * Error() + 1e-6) << i;
    }
  }
  cache_->EndDecode();
}

// In a first layer, equal tokens have equal keys but for their positions.
TEST_P(MassTest, KeysOfEqualTokensMergeToTheOneThatStays) {
  std::vector<int32_t> ids(60, 7);
  for (int32_t i = 0; i < 10; ++i) ids[i] = i;
  const auto merged = Open(/*merge=*/true), dropped = Open(/*merge=*/false);
  for (ConversationCache* cache : {merged.get(), dropped.get()}) Read(*cache, ids, {{10, 48}});
  const double error = GetParam() == EntryType::kF32 ? 1e-5 : 2e-2;
  for (int at = 0; at < shape_.kv_heads; ++at) {
    const HeadCache& a = std::as_const(static_cast<SessionCache&>(*merged)).Head(0, at);
    const HeadCache& b = std::as_const(static_cast<SessionCache&>(*dropped)).Head(0, at);
    const auto slots = a.SlotsInBirthOrder();
    ASSERT_EQ(slots, b.SlotsInBirthOrder());
    std::vector<float> k(static_cast<size_t>(shape_.head_dim)), expected(k.size());
    int mass = 0;
    for (const int32_t slot : slots) {
      ASSERT_EQ(a.Meta(slot).birth, b.Meta(slot).birth);
      mass += a.Meta(slot).mass;
      a.LoadKey(slot, k.data());
      b.LoadKey(slot, expected.data());
      for (size_t d = 0; d < k.size(); ++d) {
        EXPECT_NEAR(k[d], expected[d], error * (1 + std::fabs(expected[d])));
      }
    }
    EXPECT_EQ(mass, 60);
  }
}

INSTANTIATE_TEST_SUITE_P(EntryTypes, MassTest,
                         ::testing::Values(EntryType::kF32, EntryType::kBf16, EntryType::kInt8));

const char* const kQuestions[] = {"What is in the picture?", "Where is the red car?",
                                  "How many trees are there now?", "Say it again"};

CacheOptions With(double image_budget, bool merge, const Budget& budget) {
  CacheOptions options;
  options.budget = budget;
  options.image_budget = image_budget;
  options.merge_images = merge;
  return options;
}

// What merging and weighing change is there from the first turn on that finds the entries folded.
TEST(ImageBudget, MergedPicturesAreSeenDifferently) {
  TestEngine engine;
  const auto image = PlainImage(*TinyModel(), 0.4f);
  std::vector<std::vector<float>> logprobs;
  for (const auto& options : {With(0, false, Budget::Ratio(1)), With(0.25, false, Budget::Ratio(1)),
                              With(0.25, true, Budget::Ratio(1))}) {
    const std::string id = engine.OpenId(options);
    const auto first = engine.Turn(id, kQuestions[0], 4, image);
    auto params = TestEngine::Params(id, kQuestions[1], 8);
    params.logprobs = true;
    const auto second = engine.Start(params);
    ASSERT_TRUE(second->Wait().ok());
    logprobs.push_back(second->logprobs());
    const int64_t kept = *options.image_budget > 0 ? 4 : 16;
    const CacheSnapshot cache = second->completed()->cache;
    EXPECT_EQ(cache.live_entries, (cache.tokens_seen - 16 + kept) * 12);
    EXPECT_EQ(cache.budget_entries, cache.live_entries);
  }
  EXPECT_NE(logprobs[0], logprobs[1]);
  EXPECT_NE(logprobs[0], logprobs[2]);
  EXPECT_NE(logprobs[1], logprobs[2]);
}

// Evicted before every turn, forked and truncated, budgets that change: the same tokens and sizes
// as a twin that never was.
TEST(ImageBudget, ARebuiltSessionIsTheSame) {
  TestEngine engine;
  for (const bool merge : {false, true}) {
    std::string evicted = engine.OpenId(With(0.3, merge, Budget::Ratio(0.6)));
    std::string kept = engine.OpenId(With(0.3, merge, Budget::Ratio(0.6)));
    for (int turn = 0; turn < 6; ++turn) {
      if (turn > 0) {
        ASSERT_GT(*engine.Evict(evicted), 0);
      }
      if (turn == 2) {
        for (const auto& id : {evicted, kept}) {
          ASSERT_TRUE(engine.SetBudget(id, Budget::Ratio(0.45)).ok());
        }
      }
      if (turn == 3) evicted = engine.Fork(evicted)->session_id;
      if (turn == 4) kept = engine.Fork(kept)->session_id;
      if (turn == 5) {
        for (const auto& id : {evicted, kept}) ASSERT_TRUE(engine.Truncate(id, 3).ok());
      }
      EXPECT_EQ(engine.Get(evicted)->images, (ImageFold{.share = 0.3, .merge = merge}));
      const auto image = turn % 2 == 0
                             ? PlainImage(*TinyModel(), 0.1f * static_cast<float>(turn) + 0.2f)
                             : nullptr;
      std::vector<std::shared_ptr<RecordingSink>> twins;
      for (const auto& id : {evicted, kept}) {
        auto params = TestEngine::Params(id, kQuestions[turn % 4], 12, image);
        params.parts.front().pin = turn == 2;
        params.logprobs = true;
        twins.push_back(engine.Start(std::move(params)));
        ASSERT_TRUE(twins.back()->Wait().ok());
      }
      EXPECT_EQ(twins[0]->tokens(), twins[1]->tokens());
      EXPECT_EQ(twins[0]->logprobs(), twins[1]->logprobs());
      EXPECT_EQ(twins[0]->completed()->cache.live_entries,
                twins[1]->completed()->cache.live_entries);
      EXPECT_EQ(twins[0]->completed()->cache.used_bytes, twins[1]->completed()->cache.used_bytes);
    }
  }
}

void ExpectSlicesAndCompanyChangeNothing(const CacheOptions& cache) {
  std::vector<std::vector<float>> logprobs;
  for (const int32_t slice : {16, 256}) {
    EngineOptions options = TestEngine::DefaultOptions();
    options.prefill_slice_rows = slice;
    TestEngine engine(options);
    const std::string id = engine.OpenId(cache);
    const std::string other = engine.OpenId(With(0, false, Budget::Ratio(0.2)));
    for (int turn = 0; turn < 3; ++turn) {
      const auto beside =
          slice == 16 ? engine.Start(TestEngine::Params(other, kQuestions[turn], 20)) : nullptr;
      auto params = TestEngine::Params(
          id, kQuestions[turn], 10, PlainImage(*TinyModel(), 0.2f * static_cast<float>(turn + 1)));
      params.logprobs = true;
      const auto sink = engine.Start(params);
      ASSERT_TRUE(sink->Wait().ok());
      if (beside) {
        ASSERT_TRUE(beside->Wait().ok());
      }
      logprobs.push_back(sink->logprobs());
    }
  }
  for (int turn = 0; turn < 3; ++turn) EXPECT_EQ(logprobs[turn], logprobs[turn + 3]);
}

// A merged conversation does not depend on how its prompts are cut, nor on who runs beside it.
TEST(ImageBudget, SlicesAndCompanyChangeNothing) {
  ExpectSlicesAndCompanyChangeNothing(With(0.25, true, Budget::Ratio(0.7)));
}

// Nor does a packed one, whose keys are rounded by what queries there were.
TEST(PackedEntries, SlicesAndCompanyChangeNothing) {
  ExpectSlicesAndCompanyChangeNothing(
      {.entry_type = EntryType::kPacked, .budget = Budget::Ratio(0.25)});
}

// What a probe reads is what the next turn would: nothing is lost where every picture is whole.
TEST(ImageBudget, AProbeWeighsWhatItReads) {
  TestEngine engine;
  const auto image = PlainImage(*TinyModel(), 0.4f);
  for (const bool merge : {false, true}) {
    for (const double share : {1.0, 0.25}) {
      CacheOptions options = With(share, merge, Budget::Ratio(1));
      options.probe_tokens = 12;
      const auto turn = engine.Turn(engine.OpenId(options), kQuestions[0], 4, image);
      const TurnQuality quality = turn->completed()->quality;
      EXPECT_EQ(quality.probe_tokens, 12);
      EXPECT_EQ(quality.kl_divergence() == 0, share == 1.0) << merge << " " << share;
    }
  }
}

TEST(ImageBudget, ASessionThatCannotHasNoDefault) {
  EngineOptions options = TestEngine::DefaultOptions();
  options.default_image_budget = 0.5;
  TestEngine engine(options);
  EXPECT_EQ(engine.Get(engine.OpenId())->images.share, 0.5);
  for (const char* policy : {"full", "official"}) {
    EXPECT_EQ(engine.Get(engine.OpenId({.policy = policy}))->images.share, 0);
  }
  EXPECT_EQ(engine.Get(engine.OpenId({.entry_type = EntryType::kPacked}))->images.share, 0);
  EXPECT_EQ(engine.Get(engine.OpenId({.turn_fold = TurnFold::kFair}))->images.share, 0);
  EXPECT_EQ(engine.Get(engine.OpenId(With(0, false, Budget::Ratio(0.5))))->images.share, 0);
  CacheOptions merged;
  merged.merge_images = true;
  EXPECT_TRUE(engine.Get(engine.OpenId(merged))->images.merge);
}

}  // namespace
}  // namespace concertina::testing
