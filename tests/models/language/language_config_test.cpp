#include "models/language/language_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "nlohmann/json.hpp"
#include "tests/support/gguf_writer.h"

namespace concertina {
namespace {

using ::testing::HasSubstr;

TEST(LanguageConfigFromJson, AbsentFieldsHaveTheDefaultsOfLlamaConfig) {
  // What the hub's LLaVA-1.5 7B states.
  const auto json =
      nlohmann::json::parse(R"({"max_position_embeddings": 4096, "model_type": "llama",
      "rms_norm_eps": 1e-05, "torch_dtype": "float16", "vocab_size": 32064})");
  const absl::StatusOr<LanguageConfig> config = LanguageConfigFromJson(json);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->layers, 32);
  EXPECT_EQ(config->hidden, 4096);
  EXPECT_EQ(config->intermediate, 11008);
  EXPECT_EQ(config->heads, 32);
  EXPECT_EQ(config->kv_heads, 32);
  EXPECT_EQ(config->head_dim, 128);
  EXPECT_EQ(config->vocab, 32064);
  EXPECT_EQ(config->max_positions, 4096);
  EXPECT_EQ(config->rms_eps, 1e-5F);
  EXPECT_EQ(config->rope_theta, 10000.0);
  EXPECT_FALSE(config->tied);
  const absl::StatusOr<LanguageConfig> empty = LanguageConfigFromJson(nlohmann::json::object());
  ASSERT_TRUE(empty.ok()) << empty.status();
  EXPECT_EQ(empty->rms_eps, 1e-6F);
  EXPECT_EQ(empty->vocab, 32000);
  EXPECT_EQ(empty->max_positions, 2048);
}

TEST(LanguageConfigFromJson, TakesRopeBaseFromEitherPlace) {
  const auto theta = [](const char* text) {
    return LanguageConfigFromJson(nlohmann::json::parse(text))->rope_theta;
  };
  EXPECT_EQ(theta(R"({"rope_theta": 5000})"), 5000.0);
  EXPECT_EQ(theta(R"({"rope_parameters": {"rope_theta": 7000.0, "rope_type": "default"}})"),
            7000.0);
  EXPECT_EQ(theta(R"({"rope_theta": 5000, "rope_scaling": null})"), 5000.0);
  EXPECT_EQ(theta(R"({"rope_theta": 5000, "rope_scaling": {"type": "default"}})"), 5000.0);
}

struct BadConfig {
  const char* json;
  absl::StatusCode code;
  const char* word;
};

class LanguageConfigRefusal : public ::testing::TestWithParam<BadConfig> {};

TEST_P(LanguageConfigRefusal, NamesTheField) {
  const auto config = LanguageConfigFromJson(nlohmann::json::parse(GetParam().json));
  EXPECT_EQ(config.status().code(), GetParam().code) << config.status();
  EXPECT_THAT(std::string(config.status().message()), HasSubstr(GetParam().word));
}

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;
INSTANTIATE_TEST_SUITE_P(
    Matrix, LanguageConfigRefusal,
    ::testing::Values(
        BadConfig{R"({"attention_bias": true})", kUnimplemented, "attention_bias"},
        BadConfig{R"({"mlp_bias": true})", kUnimplemented, "mlp_bias"},
        BadConfig{R"({"hidden_act": "gelu"})", kUnimplemented, "hidden_act"},
        BadConfig{R"({"model_type": "qwen2"})", kUnimplemented, "model_type"},
        BadConfig{R"({"rope_scaling": {"rope_type": "llama3", "factor": 8}})", kUnimplemented,
                  "rope_type"},
        BadConfig{R"({"rope_scaling": {"type": "linear", "factor": 2}})", kUnimplemented, "linear"},
        BadConfig{R"({"rope_parameters": {"rope_type": "yarn"}})", kUnimplemented, "yarn"},
        BadConfig{R"({"rope_parameters": {"partial_rotary_factor": 0.5}})", kUnimplemented,
                  "partial_rotary_factor"},
        BadConfig{R"({"rope_parameters": 3})", kInvalid, "rope_parameters"},
        BadConfig{R"({"hidden_size": 0})", kInvalid, "hidden_size"},
        BadConfig{R"({"hidden_size": "64"})", kInvalid, "hidden_size"},
        BadConfig{R"({"hidden_size": 1e3})", kInvalid, "hidden_size"},
        BadConfig{R"({"hidden_size": 18446744073709551615})", kInvalid, "hidden_size"},
        BadConfig{R"({"num_hidden_layers": -3})", kInvalid, "num_hidden_layers"},
        BadConfig{R"({"num_attention_heads": 6, "num_key_value_heads": 4, "hidden_size": 96})",
                  kInvalid, "multiple"},
        BadConfig{R"({"head_dim": 7})", kInvalid, "odd"},
        BadConfig{R"({"hidden_size": 8, "num_attention_heads": 16})", kInvalid, "head dimension"},
        BadConfig{R"({"rms_norm_eps": 0})", kInvalid, "epsilon"},
        BadConfig{R"({"rope_theta": 0})", kInvalid, "rope_theta"},
        BadConfig{R"({"tie_word_embeddings": 1})", kInvalid, "tie_word_embeddings"},
        BadConfig{R"([1, 2])", kInvalid, "not a JSON object"}));

class GgufConfig : public ::testing::Test {
 protected:
  GgufConfig() {
    writer_.AddUint("llama.block_count", 2);
    writer_.AddUint("llama.embedding_length", 16);
    writer_.AddUint("llama.feed_forward_length", 24);
    writer_.AddUint("llama.attention.head_count", 2);
    writer_.AddUint("llama.context_length", 64);
    writer_.AddTensor("token_embd.weight", {10, 16}, std::vector<float>(160));
  }

  absl::StatusOr<LanguageConfig> Read() {
    const std::string path =
        ::testing::TempDir() + "language_config_test-" + std::to_string(getpid()) + ".gguf";
    if (!writer_.Write(path)) return absl::InternalError("cannot write");
    absl::StatusOr<std::unique_ptr<GgufFile>> file = GgufFile::Open(path);
    unlink(path.c_str());
    if (!file.ok()) return file.status();
    return LanguageConfigFromGguf(**file);
  }

  concertina::testing::GgufWriter writer_;
};

TEST_F(GgufConfig, FillsInDefaults) {
  writer_.AddString("general.architecture", "llama");
  writer_.AddTensor("rope_freqs.weight", {4}, {1, 1, 1, 1});
  const absl::StatusOr<LanguageConfig> config = Read();
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->kv_heads, 2);
  EXPECT_EQ(config->head_dim, 8);
  EXPECT_EQ(config->vocab, 10);
  EXPECT_EQ(config->rope_theta, 10000.0);
  EXPECT_TRUE(config->tied);
}

TEST_F(GgufConfig, RefusesOtherArchitectures) {
  writer_.AddString("general.architecture", "qwen2");
  EXPECT_EQ(Read().status().code(), kUnimplemented);
}

TEST_F(GgufConfig, RefusesScaledRope) {
  writer_.AddString("general.architecture", "llama");
  writer_.AddString("llama.rope.scaling.type", "yarn");
  EXPECT_EQ(Read().status().code(), kUnimplemented);
}

TEST_F(GgufConfig, RefusesRopeFactors) {
  writer_.AddString("general.architecture", "llama");
  writer_.AddTensor("rope_freqs.weight", {4}, {1, 1, 8, 8});
  EXPECT_EQ(Read().status().code(), kUnimplemented);
}

TEST_F(GgufConfig, RefusesPartialRotation) {
  writer_.AddString("general.architecture", "llama");
  writer_.AddUint("llama.rope.dimension_count", 4);
  EXPECT_EQ(Read().status().code(), kUnimplemented);
}

TEST(LanguageConfigFromGguf, ReadsTheBundledModel) {
  const auto file =
      GgufFile::Open(CONCERTINA_SOURCE_DIR "/.models/SmolLM2-135M-Instruct.Q4_1.gguf");
  ASSERT_TRUE(file.ok()) << file.status();
  const absl::StatusOr<LanguageConfig> config = LanguageConfigFromGguf(**file);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->layers, 30);
  EXPECT_EQ(config->hidden, 576);
  EXPECT_EQ(config->intermediate, 1536);
  EXPECT_EQ(config->heads, 9);
  EXPECT_EQ(config->kv_heads, 3);
  EXPECT_EQ(config->head_dim, 64);
  EXPECT_EQ(config->vocab, 49152);
  EXPECT_EQ(config->rope_theta, 100000.0);
  EXPECT_EQ(config->max_positions, 8192);
  EXPECT_TRUE(config->tied);
}

}  // namespace
}  // namespace concertina
