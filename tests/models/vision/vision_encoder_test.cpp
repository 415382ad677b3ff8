#include "models/vision/vision_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/tiny_vision.h"

namespace concertina {
namespace {

using concertina::testing::MemorySource;
using concertina::testing::TinyVision;
using concertina::testing::TinyVisionConfig;
using ::testing::HasSubstr;

constexpr int64_t kOutput = 14;

std::unique_ptr<VisionEncoder> Load(const VisionConfig& config, const MemorySource& source) {
  auto encoder = VisionEncoder::Load(config, source, kOutput, MatrixType::kF32);
  EXPECT_TRUE(encoder.ok()) << encoder.status();
  return *std::move(encoder);
}

std::vector<float> Pixels(int64_t images, int64_t side) {
  MemorySource source;
  source.SetRandom("pixels", {images, 3, side, side}, 2.0F);
  return source.Values("pixels");
}

std::vector<float> Encode(const VisionEncoder& encoder, const std::vector<float>& pixels,
                          int64_t n) {
  std::vector<float> features(
      static_cast<size_t>(n * encoder.tokens_per_image() * encoder.output_width()));
  encoder.Encode(pixels.data(), n, features.data());
  return features;
}

TEST(VisionEncoder, PicturesDoNotDependOnEachOther) {
  const VisionConfig config = TinyVisionConfig();
  const auto encoder = Load(config, TinyVision(config, kOutput));
  EXPECT_EQ(encoder->tokens_per_image(), 9);
  const int64_t size = 3 * config.image_side * config.image_side;
  const std::vector<float> pixels = Pixels(3, config.image_side);
  const std::vector<float> all = Encode(*encoder, pixels, 3);
  const size_t each = all.size() / 3;
  for (int64_t image = 0; image < 3; ++image) {
    const std::vector<float> one(pixels.begin() + image * size,
                                 pixels.begin() + (image + 1) * size);
    const auto expected = all.begin() + image * static_cast<int64_t>(each);
    EXPECT_EQ(Encode(*encoder, one, 1),
              std::vector<float>(expected, expected + static_cast<int64_t>(each)));
  }
}

TEST(VisionEncoder, BothNamingsLoadTheSame) {
  const VisionConfig config = TinyVisionConfig();
  const MemorySource reference = TinyVision(config, kOutput);
  const std::vector<float> pixels = Pixels(1, config.image_side);
  const std::vector<float> expected = Encode(*Load(config, reference), pixels, 1);
  for (const std::string tower :
       {"vision_tower.", "model.vision_tower.", "model.vision_tower.vision_model."}) {
    MemorySource renamed;
    for (const TensorInfo& tensor : reference.tensors()) {
      std::string name = tensor.name;
      if (name.starts_with("multi")) name = "model." + name;
      if (name.starts_with("vision")) {
        name = tower + name.substr(std::string("vision_tower.vision_model.").size());
      }
      renamed.Set(name, tensor.shape, reference.Values(tensor.name));
    }
    EXPECT_EQ(Encode(*Load(config, renamed), pixels, 1), expected) << tower;
  }
}

// The reference is put together from the hidden states that the hook sees.
TEST(VisionEncoder, FeatureLayersAndClassTokenReachTheProjector) {
  VisionConfig config = TinyVisionConfig();
  config.feature_layers = {3, 0};
  config.keep_class_token = true;
  const MemorySource source = TinyVision(config, kOutput);
  const auto encoder = Load(config, source);
  EXPECT_EQ(encoder->tokens_per_image(), 10);
  const std::vector<float> pixels = Pixels(1, config.image_side);
  std::vector<std::vector<float>> hidden;
  std::vector<float> features(static_cast<size_t>(10 * kOutput));
  encoder->Encode(pixels.data(), 1, features.data(),
                  [&](int64_t image, int32_t index, const float* state) {
                    EXPECT_EQ(image, 0);
                    EXPECT_EQ(index, static_cast<int32_t>(hidden.size()));
                    hidden.emplace_back(state, state + 10 * config.hidden);
                  });
  ASSERT_EQ(hidden.size(), 4);
  EXPECT_EQ(features, Encode(*encoder, pixels, 1));  // the hook changes nothing

  const auto linear = [&](const std::string& name, const std::vector<float>& x) {
    const std::vector<float>& weight = source.Values("multi_modal_projector." + name + ".weight");
    std::vector<float> y = source.Values("multi_modal_projector." + name + ".bias");
    for (size_t i = 0; i < y.size(); ++i) {
      for (size_t j = 0; j < x.size(); ++j) y[i] += weight[i * x.size() + j] * x[j];
    }
    return y;
  };
  for (int64_t row = 0; row < 10; ++row) {
    std::vector<float> x;
    for (const size_t state : {3, 0}) {
      const auto from = hidden[state].begin() + row * config.hidden;
      x.insert(x.end(), from, from + config.hidden);
    }
    x = linear("linear_1", x);
    for (float& value : x) value *= 0.5F * (1.0F + std::erf(value / std::sqrt(2.0F)));
    x = linear("linear_2", x);
    for (int64_t i = 0; i < kOutput; ++i) {
      EXPECT_NEAR(features[static_cast<size_t>(row * kOutput + i)], x[static_cast<size_t>(i)],
                  1e-4);
    }
  }
}

absl::Status StatusOf(const MemorySource& source) {
  return VisionEncoder::Load(TinyVisionConfig(), source, kOutput, MatrixType::kF32).status();
}

TEST(VisionEncoder, NamesFaultyTensors) {
  const MemorySource good = TinyVision(TinyVisionConfig(), kOutput);
  for (const TensorInfo& tensor : good.tensors()) {
    MemorySource missing = good;
    missing.Erase(tensor.name);
    EXPECT_EQ(StatusOf(missing).code(), absl::StatusCode::kNotFound) << tensor.name;
    MemorySource misshapen = good;
    std::vector<int64_t> shape = tensor.shape;
    shape.back() += 1;
    misshapen.SetRandom(tensor.name, shape, 1.0F);
    const absl::Status status = StatusOf(misshapen);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(tensor.name));
  }
}

}  // namespace
}  // namespace concertina
