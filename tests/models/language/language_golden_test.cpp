// The language model against transformers: tests/goldens/README.md has the meaning of every tensor.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "models/config/json_file.h"
#include "models/language/language_model.h"
#include "models/weights/gguf.h"
#include "models/weights/safetensors.h"
#include "nlohmann/json.hpp"
#include "tests/support/full_cache_forward.h"
#include "tests/support/golden_file.h"

namespace concertina {
namespace {

using concertina::testing::ArgMax;
using concertina::testing::EmbedPrompt;
using concertina::testing::FullCacheForward;
using concertina::testing::GoldenFile;
using concertina::testing::MaxAbsDifference;

const std::string kGoldens = CONCERTINA_SOURCE_DIR "/tests/goldens/";
constexpr const char* kGguf = CONCERTINA_SOURCE_DIR "/.models/SmolLM2-135M-Instruct.Q4_1.gguf";

GoldenFile OpenGoldens(const std::string& name) {
  absl::StatusOr<GoldenFile> file = GoldenFile::Open(kGoldens + name + "/golden.safetensors");
  if (!file.ok()) {
    ADD_FAILURE() << file.status();
    std::abort();
  }
  return *std::move(file);
}

std::unique_ptr<LanguageModel> LoadTiny(MatrixType type) {
  const auto json = ReadJsonFile(kGoldens + "llava15-tiny/config.json");
  auto weights = OpenSafetensors(kGoldens + "llava15-tiny");
  EXPECT_TRUE(json.ok() && weights.ok()) << json.status() << weights.status();
  const auto config = LanguageConfigFromJson((*json)["text_config"]);
  EXPECT_TRUE(config.ok()) << config.status();
  auto model = LanguageModel::Load(*config, {.weights = *std::move(weights)}, type);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

constexpr int32_t kTinyImageToken = 384;  // image_token_index of llava15-tiny

// Greedy continuation after a prompt that has run; stops after `count`.
std::vector<int32_t> Greedy(FullCacheForward& forward, std::vector<float> logits, size_t count) {
  std::vector<int32_t> ids;
  while (true) {
    ids.push_back(ArgMax(logits));
    if (ids.size() == count) return ids;
    logits = forward.Step(ids.back(), 0.0F);
  }
}

std::vector<float> LastRows(const std::vector<float>& rows, size_t count, size_t width) {
  return std::vector<float>(rows.end() - static_cast<int64_t>(count * width), rows.end());
}

TEST(LanguageGolden, LlavaTinyAllCases) {
  const auto model = LoadTiny(MatrixType::kF32);
  const LanguageConfig& config = model->config();
  const size_t vocab = static_cast<size_t>(config.vocab);
  const GoldenFile golden = OpenGoldens("llava15-tiny");
  const std::vector<std::string> cases = golden.NamesEndingWith("/input_ids");
  ASSERT_EQ(cases.size(), 11);
  for (const std::string& name : cases) {
    SCOPED_TRACE(name);
    const std::vector<int32_t> ids = golden.Ints(name + "/input_ids");
    const int64_t n = static_cast<int64_t>(ids.size());
    const std::vector<int32_t> greedy = golden.Ints(name + "/greedy_ids");
    FullCacheForward forward(*model,
                             {.capacity = n + 64, .column_sums = true, .hidden_states = true});
    std::vector<float> x =
        EmbedPrompt(*model, ids, kTinyImageToken, golden.Floats(name + "/image_features"));
    forward.Append(n, nullptr, x.data());
    const std::vector<float> logits = forward.Logits(x.data(), n);
    if (golden.Has(name + "/logits")) {
      EXPECT_LT(MaxAbsDifference(logits, golden.Floats(name + "/logits")), 5e-4);
    } else {
      EXPECT_LT(MaxAbsDifference(LastRows(logits, 8, vocab), golden.Floats(name + "/logits_tail")),
                5e-4);
    }
    for (int layer = 0; layer < config.layers; ++layer) {
      const std::string l = std::to_string(layer);
      if (!golden.Has(name + "/k." + l)) continue;
      EXPECT_LT(MaxAbsDifference(forward.Keys(layer), golden.Floats(name + "/k." + l)), 2e-4);
      EXPECT_LT(MaxAbsDifference(forward.Values(layer), golden.Floats(name + "/v." + l)), 2e-4);
    }
    for (int i = 0; i <= config.layers; ++i) {
      const std::string key = name + "/hidden." + std::to_string(i);
      if (!golden.Has(key)) continue;
      EXPECT_LT(MaxAbsDifference(forward.HiddenStates(i), golden.Floats(key)), 2e-4) << key;
    }
    EXPECT_EQ(Greedy(forward, LastRows(logits, 1, vocab), greedy.size()), greedy);
  }
}

TEST(LanguageGolden, LlavaTinyColumnSums) {
  const auto model = LoadTiny(MatrixType::kF32);
  const GoldenFile golden = OpenGoldens("llava15-tiny");
  const std::vector<int32_t> ids = golden.Ints("single/input_ids");
  const int64_t n = static_cast<int64_t>(ids.size());
  FullCacheForward forward(*model, {.capacity = n, .column_sums = true});
  std::vector<float> x =
      EmbedPrompt(*model, ids, kTinyImageToken, golden.Floats("single/image_features"));
  forward.Append(n, nullptr, x.data());
  std::vector<float> sums;
  std::vector<float> per_head;
  for (int layer = 0; layer < model->config().layers; ++layer) {
    const std::vector<float> s = forward.ColumnSums(layer);
    const std::vector<float> h = forward.ColumnSumsPerHead(layer);
    sums.insert(sums.end(), s.begin(), s.end());
    per_head.insert(per_head.end(), h.begin(), h.end());
  }
  const double tolerance = 1e-4 * static_cast<double>(n);
  EXPECT_LT(MaxAbsDifference(sums, golden.Floats("single/attn_colsum")), tolerance);
  EXPECT_LT(MaxAbsDifference(per_head, golden.Floats("single/attn_colsum_per_head")), tolerance);
}

TEST(LanguageGolden, LlavaTinyInBf16AgreesOnMostRows) {
  if (!Bf16MatrixSupported()) {
    // Then loading must say so instead of crashing later.
    const auto config = LoadTiny(MatrixType::kF32)->config();
    auto weights = OpenSafetensors(kGoldens + "llava15-tiny");
    const auto model =
        LanguageModel::Load(config, {.weights = *std::move(weights)}, MatrixType::kBf16);
    EXPECT_EQ(model.status().code(), absl::StatusCode::kFailedPrecondition);
    return;
  }
  const auto model = LoadTiny(MatrixType::kBf16);
  const size_t vocab = static_cast<size_t>(model->config().vocab);
  const GoldenFile golden = OpenGoldens("llava15-tiny");
  const std::vector<int32_t> ids = golden.Ints("single/input_ids");
  const int64_t n = static_cast<int64_t>(ids.size());
  FullCacheForward forward(*model, {.capacity = n});
  std::vector<float> x =
      EmbedPrompt(*model, ids, kTinyImageToken, golden.Floats("single/image_features"));
  forward.Append(n, nullptr, x.data());
  const std::vector<float> logits = forward.Logits(x.data(), n);
  const std::vector<float> expected = golden.Floats("single/logits");
  int64_t agree = 0;
  for (size_t row = 0; row < ids.size(); ++row) {
    const auto at = [&](const std::vector<float>& all) {
      return ArgMax(std::span(all).subspan(row * vocab, vocab));
    };
    agree += at(logits) == at(expected) ? 1 : 0;
  }
  EXPECT_GE(agree, n * 8 / 10);
  EXPECT_LT(MaxAbsDifference(logits, expected), 1.0);
}

// SmolLM2-135M, loaded once.
class SmolLm2Golden : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto file = GgufFile::Open(kGguf);
    ASSERT_TRUE(file.ok()) << file.status();
    const auto config = LanguageConfigFromGguf(**file);
    ASSERT_TRUE(config.ok()) << config.status();
    auto model = LanguageModel::Load(
        *config, {.weights = *std::move(file), .naming = WeightNaming::kGguf}, MatrixType::kF32);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = model->release();
  }
  static void TearDownTestSuite() {
    delete model_;
    model_ = nullptr;
  }
  void SetUp() override { ASSERT_NE(model_, nullptr); }

  static LanguageModel* model_;
};
LanguageModel* SmolLm2Golden::model_ = nullptr;

TEST_F(SmolLm2Golden, TopLogitsAndContinuations) {
  const GoldenFile golden = OpenGoldens("llama-text-smollm2");
  const size_t vocab = static_cast<size_t>(model_->config().vocab);
  for (const std::string& name : golden.NamesEndingWith("/input_ids")) {
    SCOPED_TRACE(name);
    std::vector<int32_t> ids = golden.Ints(name + "/input_ids");
    const std::vector<int32_t> continuation = golden.Ints(name + "/continuation_ids");
    const size_t prompt = ids.size();
    ids.insert(ids.end(), continuation.begin(), continuation.end());
    const int64_t n = static_cast<int64_t>(ids.size());
    FullCacheForward forward(*model_, {.capacity = n});
    std::vector<float> x = EmbedPrompt(*model_, ids, -1, {});
    forward.Append(n, nullptr, x.data());
    const size_t hidden = static_cast<size_t>(model_->config().hidden);
    const int64_t rows = static_cast<int64_t>(continuation.size()) + 1;
    const std::vector<float> logits = forward.Logits(x.data() + (prompt - 1) * hidden, rows);

    std::vector<float> top;
    for (const int32_t id : golden.Ints(name + "/top20_ids"))
      top.push_back(logits[static_cast<size_t>(id)]);
    EXPECT_LT(MaxAbsDifference(top, golden.Floats(name + "/top20_logits")), 2e-3);
    std::vector<float> logprobs;
    for (size_t i = 0; i < continuation.size(); ++i) {
      double sum = 0;
      for (size_t j = 0; j < vocab; ++j)
        sum += std::exp(static_cast<double>(logits[i * vocab + j]));
      const double logit = logits[i * vocab + static_cast<size_t>(continuation[i])];
      logprobs.push_back(static_cast<float>(logit - std::log(sum)));
    }
    EXPECT_LT(MaxAbsDifference(logprobs, golden.Floats(name + "/continuation_logprobs")), 2e-3);
  }
}

TEST_F(SmolLm2Golden, CacheColumnSumsAndGreedy) {
  const GoldenFile golden = OpenGoldens("llama-text-smollm2");
  for (const std::string name : {"plain", "chat"}) {
    SCOPED_TRACE(name);
    const std::vector<int32_t> ids = golden.Ints(name + "/input_ids");
    const std::vector<int32_t> greedy = golden.Ints(name + "/greedy_ids");
    const int64_t n = static_cast<int64_t>(ids.size());
    FullCacheForward forward(
        *model_, {.capacity = n + static_cast<int64_t>(greedy.size()), .column_sums = true});
    std::vector<float> x = EmbedPrompt(*model_, ids, -1, {});
    forward.Append(n, nullptr, x.data());
    for (const int layer : {0, 14, 29}) {
      const std::string l = std::to_string(layer);
      EXPECT_LT(MaxAbsDifference(forward.Keys(layer), golden.Floats(name + "/k." + l)), 2e-3) << l;
      EXPECT_LT(MaxAbsDifference(forward.Values(layer), golden.Floats(name + "/v." + l)), 2e-3)
          << l;
    }
    std::vector<float> sums;
    for (int layer = 0; layer < model_->config().layers; ++layer) {
      const std::vector<float> s = forward.ColumnSums(layer);
      sums.insert(sums.end(), s.begin(), s.end());
    }
    EXPECT_LT(MaxAbsDifference(sums, golden.Floats(name + "/attn_colsum")),
              1e-4 * static_cast<double>(n));
    const int64_t hidden = model_->config().hidden;
    std::vector<float> logits = forward.Logits(x.data() + (n - 1) * hidden, 1);
    // Up to the first choice that rounding could turn.
    const std::vector<float> top2 = golden.Floats(name + "/greedy_top2_logits");
    size_t clear = 0;
    while (clear < greedy.size() && top2[2 * clear] - top2[2 * clear + 1] > 0.01F) ++clear;
    ASSERT_GT(clear, 8);
    EXPECT_EQ(Greedy(forward, std::move(logits), clear),
              std::vector<int32_t>(greedy.begin(), greedy.begin() + static_cast<int64_t>(clear)));
  }
}

}  // namespace
}  // namespace concertina
