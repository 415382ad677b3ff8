#include "models/vision/vision_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "nlohmann/json.hpp"

namespace concertina {
namespace {

absl::StatusOr<VisionConfig> Parse(const char* text) {
  return VisionConfigFromJson(nlohmann::json::parse(text));
}

TEST(VisionConfigFromJson, WithoutAVisionConfigItIsClipLargeAt336) {
  const auto config = Parse("{}");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->hidden, 1024);
  EXPECT_EQ(config->intermediate, 4096);
  EXPECT_EQ(config->layers, 24);
  EXPECT_EQ(config->heads, 16);
  EXPECT_EQ(config->image_side, 336);
  EXPECT_EQ(config->patch_side, 14);
  EXPECT_EQ(config->norm_eps, 1e-5F);
  EXPECT_EQ(config->activation, VisionActivation::kQuickGelu);
  EXPECT_EQ(config->feature_layers, std::vector<int32_t>{23});
  EXPECT_FALSE(config->keep_class_token);
  EXPECT_TRUE(config->projector_bias);
  EXPECT_EQ(config->tokens(), 576);
}

TEST(VisionConfigFromJson, AStatedVisionConfigIsFilledUpByClip) {
  const auto config = Parse(R"({"vision_config": {"model_type": "clip_vision_model"}})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->hidden, 768);
  EXPECT_EQ(config->intermediate, 3072);
  EXPECT_EQ(config->layers, 12);
  EXPECT_EQ(config->heads, 12);
  EXPECT_EQ(config->patches_per_side(), 7);
}

TEST(VisionConfigFromJson, FeatureLayersCountFromEitherEnd) {
  const auto layers = [](const std::string& value) {
    return Parse((R"({"vision_feature_layer": )" + value + "}").c_str())->feature_layers;
  };
  using Layers = std::vector<int32_t>;
  EXPECT_EQ(layers("-1"), Layers{24});
  EXPECT_EQ(layers("-2"), Layers{23});
  EXPECT_EQ(layers("0"), Layers{0});
  EXPECT_EQ(layers("-25"), Layers{0});
  EXPECT_EQ(layers("24"), Layers{24});
  EXPECT_EQ(layers("[-2, 5]"), (Layers{23, 5}));
}

TEST(VisionConfigFromJson, StrategyFullKeepsTheClassToken) {
  const auto config = Parse(R"({"vision_feature_select_strategy": "full"})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->tokens(), 577);
}

TEST(VisionConfigFromJson, RefusesWhatMakesNoSense) {
  const auto code = [](const char* text) { return Parse(text).status().code(); };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;
  EXPECT_EQ(code(R"({"vision_feature_layer": 25})"), kInvalid);
  EXPECT_EQ(code(R"({"vision_feature_layer": -26})"), kInvalid);
  EXPECT_EQ(code(R"({"vision_feature_layer": "last"})"), kInvalid);
  EXPECT_EQ(code(R"({"vision_feature_layer": []})"), kInvalid);
  EXPECT_EQ(code(R"({"vision_config": 5})"), kInvalid);
  EXPECT_EQ(code(R"({"vision_config": {"image_size": 14, "patch_size": 16}})"), kInvalid);
  EXPECT_EQ(code(R"({"vision_config": {"image_size": 4096, "patch_size": 1}})"), kInvalid);
  EXPECT_EQ(code(R"({"vision_config": {"num_attention_heads": 7}})"), kInvalid);
  EXPECT_EQ(code(R"({"vision_config": {"hidden_act": "relu"}})"), kUnimplemented);
  EXPECT_EQ(code(R"({"vision_config": {"num_channels": 1}})"), kUnimplemented);
  EXPECT_EQ(code(R"({"vision_config": {"model_type": "siglip_vision_model"}})"), kUnimplemented);
  EXPECT_EQ(code(R"({"vision_feature_select_strategy": "cls"})"), kUnimplemented);
  EXPECT_EQ(code(R"({"projector_hidden_act": "relu"})"), kUnimplemented);
}

}  // namespace
}  // namespace concertina
