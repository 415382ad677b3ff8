#include "models/language/language_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "tests/support/tiny_llama.h"

namespace concertina {
namespace {

using concertina::testing::MemorySource;
using concertina::testing::TinyLlama;
using concertina::testing::TinyLlamaConfig;
using ::testing::HasSubstr;

class Layouts : public ::testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(Layouts, AreFound) {
  const auto& [prefix, head] = GetParam();
  const LanguageConfig config = TinyLlamaConfig();
  const MemorySource source = TinyLlama(config, prefix, head);
  const auto weights = FindLanguageWeights(source, WeightNaming::kHuggingFace, config);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->layers.size(), 2);
  EXPECT_EQ(weights->layers[1].qkv.rows, 48 + 16 + 16);
  EXPECT_EQ(weights->layers[1].gate_up.rows, 72);
  EXPECT_EQ(weights->head.parts[0].tensor->name, head);
  EXPECT_TRUE(HasLanguageHead(source));
}

INSTANTIATE_TEST_SUITE_P(All, Layouts,
                         ::testing::Values(std::pair("model.", "lm_head.weight"),
                                           std::pair("language_model.model.",
                                                     "language_model.lm_head.weight"),
                                           std::pair("model.language_model.", "lm_head.weight")));

TEST(FindLanguageWeights, TiedHeadIsTheEmbedding) {
  LanguageConfig config = TinyLlamaConfig();
  config.tied = true;
  const MemorySource source = TinyLlama(config);
  const auto weights = FindLanguageWeights(source, WeightNaming::kHuggingFace, config);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->head.parts[0].tensor, weights->embedding);
  EXPECT_FALSE(HasLanguageHead(source));
}

absl::Status StatusOf(const MemorySource& source) {
  return FindLanguageWeights(source, WeightNaming::kHuggingFace, TinyLlamaConfig()).status();
}

TEST(FindLanguageWeights, NamesWhatIsMissing) {
  for (const char* name :
       {"model.norm.weight", "lm_head.weight", "model.layers.1.self_attn.k_proj.weight",
        "model.layers.0.mlp.down_proj.weight", "model.layers.1.input_layernorm.weight"}) {
    MemorySource source = TinyLlama(TinyLlamaConfig());
    source.Erase(name);
    const absl::Status status = StatusOf(source);
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }
  EXPECT_EQ(StatusOf(MemorySource()).code(), absl::StatusCode::kNotFound);
}

TEST(FindLanguageWeights, NamesAWrongShape) {
  MemorySource source = TinyLlama(TinyLlamaConfig());
  source.SetRandom("model.layers.1.mlp.up_proj.weight", {20, 36}, 1.0F);
  const absl::Status status = StatusOf(source);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("up_proj.weight has shape [20, 36]"));
}

TEST(FindLanguageWeights, RefusesBiases) {
  MemorySource source = TinyLlama(TinyLlamaConfig());
  source.SetRandom("model.layers.0.self_attn.q_proj.bias", {48}, 1.0F);
  EXPECT_EQ(StatusOf(source).code(), absl::StatusCode::kUnimplemented);
}

// The reference: tests/goldens/gen/gen_smollm2.py, unpermute().
TEST(StackedMatrix, UndoesLlamaCppRowOrder) {
  MemorySource source;
  // Two heads of 6 rows; a row's value is its place in the file. One plain matrix below.
  std::vector<float> rows(12);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(i);
  source.Set("q", {12, 1}, rows);
  source.Set("v", {3, 1}, {100, 101, 102});
  StackedMatrix stack{
      .parts = {{source.Find("q"), 12, 6}, {source.Find("v"), 3, 0}}, .rows = 15, .columns = 1};
  const std::vector<float> expected{0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11, 100, 101, 102};
  for (int64_t begin = 0; begin <= 15; ++begin) {
    for (int64_t end = begin; end <= 15; ++end) {
      std::vector<float> out(static_cast<size_t>(end - begin));
      ASSERT_TRUE(stack.ReadRows(source, begin, end, out.data()).ok());
      EXPECT_EQ(out, std::vector<float>(expected.begin() + begin, expected.begin() + end));
    }
  }
}

}  // namespace
}  // namespace concertina
