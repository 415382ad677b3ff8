// The bundled model (SmolLM2-135M with the vision adapter) against transformers, over several
// turns.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "models/bundle/model.h"
#include "models/config/json_file.h"
#include "models/kernels/parallel.h"
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

class BundledModel : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    SetThreads(2);
    const std::string source = CONCERTINA_SOURCE_DIR;
    const auto start = std::chrono::steady_clock::now();
    const std::string path = source + "/.models/SmolLM2-135M-Instruct.Q4_1.gguf";
    const std::string vision_path = source + "/models/bundled/smollm2-135m-vision";
    auto model = LoadModel({.path = path, .vision_path = vision_path});
    ASSERT_TRUE(model.ok()) << model.status();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    RecordProperty("load_seconds", std::to_string(elapsed.count()));
    model_ = *std::move(model);
    WeightSettings rounded = MatrixType::kF32;
    rounded.vision = MatrixType::kInt8;
    auto rounded_model =
        LoadModel({.path = path, .vision_path = vision_path, .weight_type = rounded});
    ASSERT_TRUE(rounded_model.ok()) << rounded_model.status();
    rounded_tower_ = *std::move(rounded_model);
  }
  static void TearDownTestSuite() {
    model_ = nullptr;
    rounded_tower_ = nullptr;
  }
  void SetUp() override { ASSERT_NE(model_, nullptr); }

  static std::shared_ptr<const Model> model_;
  static std::shared_ptr<const Model> rounded_tower_;  // vision in 8 bits
};
std::shared_ptr<const Model> BundledModel::model_;
std::shared_ptr<const Model> BundledModel::rounded_tower_;

TEST_F(BundledModel, Facts) {
  EXPECT_EQ(model_->name, "SmolLM2-135M-Instruct.Q4_1");
  EXPECT_EQ(model_->image_token, 16);
  const auto config =
      ReadJsonFile(CONCERTINA_SOURCE_DIR "/models/bundled/smollm2-135m-vision/config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(model_->image_tokens, config->at("image_seq_length"));
  EXPECT_EQ(model_->end_tokens, std::vector<TokenId>{2});
  EXPECT_TRUE(model_->adapter);
  EXPECT_EQ(model_->tokenizer->vocab_size(), 49152);
  EXPECT_EQ(model_->chat->family(), "chatml-smollm");
  EXPECT_EQ(model_->preprocess.crop_height, config->at("vision_config").at("image_size"));
}

// Of all its turns together, answers included.
int64_t TokensOf(const GoldenFile& golden, const std::string& scene) {
  size_t tokens = 0;
  for (const std::string& turn : golden.NamesEndingWith("/input_ids")) {
    if (!turn.starts_with(scene)) continue;
    tokens = std::max(
        tokens, golden.Ints(turn + "/input_ids").size() + golden.Ints(turn + "/greedy_ids").size());
  }
  return static_cast<int64_t>(tokens);
}

struct Tolerance {
  double features, logits;
};

// Every turn of the scene ("scene0/") gives the golden answer; features and logits are as near as
// `tolerance`.
void Play(const Model& model, const GoldenFile& golden, const std::string& scene,
          const Tolerance& tolerance) {
  const LanguageModel& language = *model.language;
  std::vector<float> features(golden.Floats(scene + "image_features").size());
  const int64_t pictures = golden.Shape(scene + "pixel_values").front();
  ASSERT_EQ(features.size(),
            static_cast<size_t>(pictures * model.image_tokens * language.config().hidden));
  model.vision->Encode(golden.Floats(scene + "pixel_values").data(), pictures, features.data());
  EXPECT_LT(MaxAbsDifference(features, golden.Floats(scene + "image_features")),
            tolerance.features);

  FullCacheForward forward(language, {.capacity = TokensOf(golden, scene)});
  int turn = 0;
  for (;; ++turn) {
    const std::string prefix = scene + "turn" + std::to_string(turn) + "/";
    if (!golden.Has(prefix + "input_ids")) break;
    SCOPED_TRACE(prefix);
    const std::vector<int32_t> ids = golden.Ints(prefix + "input_ids");
    const std::vector<int32_t> greedy = golden.Ints(prefix + "greedy_ids");
    ASSERT_LT(static_cast<size_t>(forward.tokens()), ids.size());
    // A conversation with a picture runs with the adapter from its first token on.
    const std::vector<int32_t> more(ids.begin() + forward.tokens(), ids.end());
    std::vector<float> x = EmbedPrompt(language, more, model.image_token, features);
    const std::vector<float> adapter_scale(more.size(), 1.0F);
    forward.Append(static_cast<int64_t>(more.size()), adapter_scale.data(), x.data());
    std::vector<float> logits = forward.Logits(x.data() + x.size() - language.config().hidden, 1);
    std::vector<float> top;
    for (const int32_t id : golden.Ints(prefix + "top20_ids")) {
      top.push_back(logits[static_cast<size_t>(id)]);
    }
    EXPECT_LT(MaxAbsDifference(top, golden.Floats(prefix + "top20_logits")), tolerance.logits);
    std::vector<int32_t> answer;
    while (answer.size() < greedy.size()) {
      answer.push_back(ArgMax(logits));
      if (answer.back() == model.end_tokens.front()) break;
      logits = forward.Step(answer.back(), 1.0F);
    }
    EXPECT_EQ(answer, greedy);
  }
  EXPECT_GE(turn, 2);
}

void PlayAll(const Model& model, const Tolerance& tolerance) {
  const auto golden =
      GoldenFile::Open(CONCERTINA_SOURCE_DIR "/tests/goldens/bundled-model/golden.safetensors");
  ASSERT_TRUE(golden.ok()) << golden.status();
  const std::vector<std::string> scenes = golden->NamesEndingWith("/pixel_values");
  EXPECT_GE(scenes.size(), 4u);
  for (const std::string& scene : scenes) Play(model, *golden, scene + "/", tolerance);
}

TEST_F(BundledModel, EveryTurnOfEveryScene) {
  PlayAll(*model_, {.features = 2e-4, .logits = 2e-3});
}

TEST_F(BundledModel, ATowerIn8BitsGivesTheSameAnswers) {
  EXPECT_EQ(rounded_tower_->weights.vision, MatrixType::kInt8);
  PlayAll(*rounded_tower_, {.features = 1, .logits = 1.5});
}

}  // namespace
}  // namespace concertina
