// Scores of a prompt's last queries only, and prompts that are read twice, on the CPU's kernels.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "cache/session_cache.h"
#include "server/engine/host_runner.h"
#include "tests/support/tiny_llama.h"

namespace concertina {
namespace {

using concertina::testing::MemorySource;
using concertina::testing::TinyLlama;
using concertina::testing::TinyLlamaConfig;

constexpr int32_t kWindow = 32;                         // of snapkv
const std::vector<int32_t> kRequest = {3, 1, 4, 1, 5};  // between a prompt and its repetition

class WindowScoresTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const LanguageSource source{.weights =
                                    std::make_shared<MemorySource>(TinyLlama(TinyLlamaConfig()))};
    auto language = LanguageModel::Load(TinyLlamaConfig(), source, MatrixType::kF32);
    ASSERT_TRUE(language.ok()) << language.status();
    language_ = *std::move(language);
    const LanguageConfig& config = language_->config();
    auto pool = PagePool::Create(8 << 20, PageBytesFor(shape()));
    ASSERT_TRUE(pool.ok()) << pool.status();
    pool_ = *std::move(pool);
    runner_ = std::make_unique<HostRunner>(*language_, pool_.get());
    ASSERT_GT(config.heads, 0);
  }

  CacheShape shape() const {
    const LanguageConfig& config = language_->config();
    return {config.layers, config.kv_heads, config.head_dim};
  }

  std::unique_ptr<ConversationCache> Open(const std::string& policy, const Budget& budget,
                                          EntryType type) {
    auto cache = runner_->MakeCache({.policy = policy, .entry_type = type, .budget = budget});
    EXPECT_TRUE(cache.ok()) << cache.status();
    return *std::move(cache);
  }

  std::vector<int32_t> Ids(int32_t count) const {
    return testing::SomeIds(language_->config(), count);
  }

  std::vector<float> Embedded(const std::vector<int32_t>& ids) {
    std::vector<float> x(ids.size() * language_->config().hidden);
    EXPECT_TRUE(runner_->Embed(ids, x.data()).ok());
    return x;
  }

  // Reads `count` tokens in slices; the last row's hidden state, and the progress reported.
  std::vector<float> Prompt(ConversationCache& cache, int32_t count, int32_t slice) {
    return Prompt(cache, Ids(count), slice);
  }

  std::vector<float> Prompt(ConversationCache& cache, const std::vector<int32_t>& ids,
                            int32_t slice) {
    std::vector<float> x = Embedded(ids);
    PromptPass::Options options;
    options.repeat_request = Embedded(kRequest);
    const auto pass = runner_->MakePass(cache, std::move(x), std::move(options));
    EXPECT_TRUE(pass->Begin().ok());
    slices_ = 0;
    int64_t done = 0;
    while (!pass->finished()) {
      EXPECT_TRUE(pass->Step(slice).ok());
      EXPECT_GT(pass->done(), done);
      done = pass->done();
      ++slices_;
    }
    EXPECT_EQ(done, pass->total());
    return {pass->last_hidden(), pass->last_hidden() + language_->config().hidden};
  }

  // S of all entries by birth, layer after layer and head after head; and which births they are.
  std::vector<float> Scores(const ConversationCache& cache,
                            std::vector<uint32_t>* births = nullptr) {
    const auto& session = static_cast<const SessionCache&>(cache);
    std::vector<float> scores;
    for (int layer = 0; layer < shape().layers; ++layer) {
      for (int head = 0; head < shape().kv_heads; ++head) {
        const HeadCache& held = session.Head(layer, head);
        for (const int32_t slot : held.SlotsInBirthOrder()) {
          scores.push_back(UnpackScore(held.Meta(slot).score));
          if (births != nullptr) births->push_back(held.Meta(slot).birth);
        }
      }
    }
    return scores;
  }

  std::unique_ptr<LanguageModel> language_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<HostRunner> runner_;
  int slices_ = 0;
};

// All queries' attention less that of the queries before the window.
TEST_F(WindowScoresTest, AreWhatTheLastQueriesPaid) {
  for (const EntryType type : {EntryType::kF32, EntryType::kBf16}) {
    for (const int32_t tokens : {20, 32, 33, 75, 96}) {
      const auto windowed = Open("snapkv", Budget::Ratio(1), type);
      const auto all = Open("h2o", Budget::Ratio(1), type);
      const auto before = Open("h2o", Budget::Ratio(1), type);
      Prompt(*windowed, tokens, 4096);
      Prompt(*all, tokens, 4096);
      const int32_t earlier = std::max(0, tokens - kWindow);
      if (earlier > 0) Prompt(*before, earlier, 4096);
      std::vector<uint32_t> births;
      const std::vector<float> expected = Scores(*all, &births);
      const std::vector<float> of_earlier = Scores(*before);
      const std::vector<float> got = Scores(*windowed);
      ASSERT_EQ(got.size(), expected.size());
      for (size_t i = 0; i < got.size(); ++i) {
        const size_t run = i / tokens;
        const float less = births[i] < static_cast<uint32_t>(earlier)
                               ? of_earlier[run * earlier + births[i]]
                               : 0.0F;
        // Stored in 16 bits, 10 of them mantissa.
        ASSERT_NEAR(got[i], expected[i] - less, expected[i] / 256 + 1e-5F) << tokens << " " << i;
      }
    }
  }
}

TEST_F(WindowScoresTest, DoNotDependOnSlices) {
  for (const char* policy : {"snapkv", "prefixkv", "concertina-hq"}) {
    for (const int32_t tokens : {33, 57, 75, 96, 101}) {
      const auto whole = Open(policy, Budget::Ratio(0.5), EntryType::kF32);
      const std::vector<float> hidden = Prompt(*whole, tokens, 4096);
      std::vector<uint32_t> births;
      const std::vector<float> scores = Scores(*whole, &births);
      for (const int32_t slice : {16, 48, 64}) {
        const auto cut = Open(policy, Budget::Ratio(0.5), EntryType::kF32);
        EXPECT_EQ(Prompt(*cut, tokens, slice), hidden);
        std::vector<uint32_t> same;
        EXPECT_EQ(Scores(*cut, &same), scores) << policy << " " << tokens << " " << slice;
        EXPECT_EQ(same, births);
      }
    }
  }
}

TEST_F(WindowScoresTest, OnlyTheFirstPromptThatMustShrinkIsReadTwice) {
  const int layers = shape().layers;
  const auto measured = Open("prefixkv", Budget::Tokens(60), EntryType::kF32);
  const auto even = Open("h2o", Budget::Tokens(60), EntryType::kF32);
  for (const int reads : {1, 2, 1}) {  // the first fits
    // What is read is the same either way until something goes.
    const std::vector<float> expected = Prompt(*even, 40, 4096);
    const std::vector<float> got = Prompt(*measured, 40, 4096);
    EXPECT_EQ(slices_, reads * layers);
    if (measured->seen() <= 80) {
      EXPECT_EQ(got, expected);
    }
  }
  EXPECT_EQ(measured->live_entries(), even->live_entries());
}

// The repetition is what reading the request and the prompt once more would be.
TEST_F(WindowScoresTest, HalfIsWhatTheRepetitionPaid) {
  for (const EntryType type : {EntryType::kF32, EntryType::kBf16}) {
    for (const int32_t tokens : {1, 16, 37, 60}) {
      const auto repeating = Open("concertina-hq", Budget::Ratio(1), type);
      const auto reading = Open("h2o", Budget::Ratio(1), type);
      EXPECT_EQ(Prompt(*repeating, tokens, 48), Prompt(*reading, tokens, 4096));
      EXPECT_EQ(repeating->seen(), tokens);
      EXPECT_EQ(repeating->live_entries(), reading->live_entries());
      const std::vector<float> once = Scores(*reading);
      std::vector<int32_t> again = kRequest;
      for (const int32_t id : Ids(tokens)) again.push_back(id);
      Prompt(*reading, again, 4096);
      const std::vector<float> twice = Scores(*reading);
      const std::vector<float> got = Scores(*repeating);
      const size_t stride = again.size() + tokens;  // entries per head
      for (size_t head = 0; head < got.size() / tokens; ++head) {
        double mean = 0, paid = 0;
        for (int32_t i = 0; i < tokens; ++i) {
          mean += once[head * tokens + i] / static_cast<float>(tokens - i);
          paid += twice[head * stride + i] - once[head * tokens + i];
        }
        for (int32_t i = 0; i < tokens; ++i) {
          const double first = once[head * tokens + i];
          const double second = (twice[head * stride + i] - first) * (tokens - i) * mean / paid;
          // Kept in 16 bits, the difference of two such: a repetition pays the less the longer.
          ASSERT_NEAR(got[head * tokens + i], (first + second) / 2, (first + second) / 50)
              << tokens << " " << head << " " << i;
        }
      }
    }
  }
}

TEST_F(WindowScoresTest, ARepetitionNeedsRoomInTheTrainedContext) {
  const auto most = static_cast<int32_t>(language_->config().max_positions);
  const auto fits = (most - static_cast<int32_t>(kRequest.size())) / 2;
  for (const int32_t tokens : {fits, fits + 1}) {
    const auto cache = Open("concertina-hq", Budget::Tokens(40), EntryType::kF32);
    const auto twin = Open("h2o", Budget::Tokens(40), EntryType::kF32);
    EXPECT_EQ(Prompt(*cache, tokens, 4096), Prompt(*twin, tokens, 4096));
    EXPECT_EQ(cache->seen(), tokens);
    const auto pass =
        runner_->MakePass(*cache, Embedded(Ids(tokens)), {.repeat_request = Embedded(kRequest)});
    ASSERT_TRUE(pass->Begin().ok());
    EXPECT_EQ(pass->tokens(), tokens) << "the cache holds the first half of the context";
    const auto fresh = Open("concertina-hq", Budget::Tokens(40), EntryType::kF32);
    const auto first =
        runner_->MakePass(*fresh, Embedded(Ids(tokens)), {.repeat_request = Embedded(kRequest)});
    ASSERT_TRUE(first->Begin().ok());
    EXPECT_EQ(first->tokens(), tokens == fits ? 2 * tokens + 5 : tokens);
    EXPECT_LE(first->bytes(), runner_->PassBytesBound(most));
  }
}

}  // namespace
}  // namespace concertina
