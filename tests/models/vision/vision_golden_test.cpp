// The vision tower and projector against transformers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "models/config/json_file.h"
#include "models/vision/vision_encoder.h"
#include "models/weights/safetensors.h"
#include "nlohmann/json.hpp"
#include "tests/support/golden_file.h"

namespace concertina {
namespace {

using concertina::testing::GoldenFile;
using concertina::testing::MaxAbsDifference;

const std::string kSource = CONCERTINA_SOURCE_DIR;

std::unique_ptr<VisionEncoder> LoadEncoder(const std::string& config_path,
                                           const std::string& weights_path, int64_t output,
                                           MatrixType type = MatrixType::kF32) {
  const auto json = ReadJsonFile(config_path);
  EXPECT_TRUE(json.ok()) << json.status();
  const auto config = VisionConfigFromJson(*json);
  EXPECT_TRUE(config.ok()) << config.status();
  auto weights = OpenSafetensors(weights_path);
  EXPECT_TRUE(weights.ok()) << weights.status();
  auto encoder = VisionEncoder::Load(*config, **weights, output, type);
  EXPECT_TRUE(encoder.ok()) << encoder.status();
  return *std::move(encoder);
}

std::unique_ptr<VisionEncoder> LoadTiny() {
  const std::string folder = kSource + "/tests/goldens/llava15-tiny";
  return LoadEncoder(folder + "/config.json", folder, 64);
}

std::unique_ptr<VisionEncoder> LoadBundled(MatrixType type) {
  const std::string folder = kSource + "/models/bundled/smollm2-135m-vision";
  return LoadEncoder(folder + "/config.json", folder + "/adapter.safetensors", 576, type);
}

GoldenFile OpenGoldens(const std::string& name) {
  auto file = GoldenFile::Open(kSource + "/tests/goldens/" + name + "/golden.safetensors");
  EXPECT_TRUE(file.ok()) << file.status();
  return *std::move(file);
}

// The largest error of the features over all cases with pixels; their number through `cases`.
double WorstFeatureError(const VisionEncoder& encoder, const GoldenFile& golden, int* cases) {
  double worst = 0;
  for (const std::string& name : golden.NamesEndingWith("/pixel_values")) {
    const std::vector<float> pixels = golden.Floats(name + "/pixel_values");
    const std::vector<float> expected = golden.Floats(name + "/image_features");
    const int64_t n = golden.Shape(name + "/pixel_values")[0];
    std::vector<float> features(expected.size());
    EXPECT_EQ(features.size(),
              static_cast<size_t>(n * encoder.tokens_per_image() * encoder.output_width()));
    encoder.Encode(pixels.data(), n, features.data());
    worst = std::max(worst, MaxAbsDifference(features, expected));
    ++*cases;
  }
  return worst;
}

double LargestFeature(const GoldenFile& golden) {
  double largest = 0;
  for (const std::string& name : golden.NamesEndingWith("/image_features")) {
    for (const float value : golden.Floats(name + "/image_features")) {
      largest = std::max(largest, std::fabs(double{value}));
    }
  }
  return largest;
}

TEST(VisionGolden, LlavaTinyFeatures) {
  int cases = 0;
  EXPECT_LT(WorstFeatureError(*LoadTiny(), OpenGoldens("llava15-tiny"), &cases), 2e-4);
  EXPECT_GE(cases, 8);
}

TEST(VisionGolden, LlavaTinyHiddenStates) {
  const auto encoder = LoadTiny();
  const GoldenFile golden = OpenGoldens("llava15-tiny");
  const std::vector<float> pixels = golden.Floats("single/pixel_values");
  std::vector<float> features(golden.Floats("single/image_features").size());
  int compared = 0;
  encoder->Encode(
      pixels.data(), 1, features.data(), [&](int64_t, int32_t index, const float* hidden) {
        const auto expected = golden.Floats("single/vision_hidden." + std::to_string(index));
        const std::vector<float> actual(hidden, hidden + expected.size());
        EXPECT_LT(MaxAbsDifference(actual, expected), 2e-4) << index;
        compared += expected.empty() ? 0 : 1;
      });
  EXPECT_EQ(compared, 4);
}

TEST(VisionGolden, BundledFeatures) {
  int cases = 0;
  EXPECT_LT(WorstFeatureError(*LoadBundled(MatrixType::kF32), OpenGoldens("bundled-model"), &cases),
            2e-4);
  EXPECT_GE(cases, 4);
}

TEST(VisionGolden, BundledFeaturesInBf16AreClose) {
  if (!Bf16MatrixSupported()) {
    EXPECT_GT(LoadBundled(MatrixType::kF32)->weight_bytes(), 0);
    return;
  }
  int cases = 0;
  const GoldenFile golden = OpenGoldens("bundled-model");
  EXPECT_LT(WorstFeatureError(*LoadBundled(MatrixType::kBf16), golden, &cases),
            0.3 * LargestFeature(golden));
}

}  // namespace
}  // namespace concertina
