#include "models/image/preprocess.h"

#include <gtest/gtest.h>

#include <cstring>

#include "models/weights/safetensors.h"
#include "tests/models/image/image_test_data.h"

namespace concertina {
namespace {

using testing::Bytes;
using testing::DataPath;
using testing::GoldenPath;

constexpr double kTolerance = 1e-6;

PreprocessConfig ConfigFrom(const std::string& json) {
  auto config = PreprocessConfig::FromJson(json);
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : PreprocessConfig();
}

PreprocessConfig ConfigFile(const std::string& path) {
  const Bytes bytes = testing::ReadBytes(path);
  return ConfigFrom(std::string(bytes.begin(), bytes.end()));
}

std::vector<float> Preprocess(const std::string& path, const PreprocessConfig& config) {
  auto values = PreprocessClip(testing::DecodeFile(path), config);
  EXPECT_TRUE(values.ok()) << values.status();
  return values.ok() ? *std::move(values) : std::vector<float>();
}

std::vector<float> Golden(const TensorSource& source, const std::string& name) {
  const TensorInfo* tensor = source.Find(name);
  if (tensor == nullptr) {
    ADD_FAILURE() << "no tensor " << name;
    return {};
  }
  auto values = ReadAll(source, name, tensor->shape);
  EXPECT_TRUE(values.ok()) << values.status();
  return values.ok() ? *std::move(values) : std::vector<float>();
}

TEST(PreprocessClip, EqualsLlavaGoldens) {
  const std::string folder = GoldenPath("llava15-tiny/");
  const auto goldens = OpenSafetensors(folder + "golden.safetensors");
  ASSERT_TRUE(goldens.ok()) << goldens.status();
  const PreprocessConfig config = ConfigFile(folder + "preprocessor_config.json");
  int compared = 0;
  const auto cases = testing::ReadJson(folder + "cases.json");
  for (const auto& row : cases.at("cases")) {
    const std::string name = row.at("name").get<std::string>() + "/pixel_values";
    if ((*goldens)->Find(name) == nullptr) continue;  // its images belong to an earlier case
    const std::string image = folder + "images/" + row.at("images")[0].get<std::string>();
    const double error = testing::MaxDifference(Preprocess(image, config), Golden(**goldens, name));
    EXPECT_LE(error, kTolerance) << name;
    ++compared;
  }
  EXPECT_EQ(compared, 8);
}

TEST(PreprocessClip, EqualsBundledModelGoldens) {
  const std::string folder = GoldenPath("bundled-model/");
  const auto goldens = OpenSafetensors(folder + "golden.safetensors");
  ASSERT_TRUE(goldens.ok()) << goldens.status();
  const PreprocessConfig config = ConfigFile(
      CONCERTINA_SOURCE_DIR "/models/bundled/smollm2-135m-vision/preprocessor_config.json");
  int compared = 0;
  const auto cases = testing::ReadJson(folder + "cases.json");
  for (const auto& row : cases.at("cases")) {
    const std::string name = row.at("name").get<std::string>() + "/pixel_values";
    std::vector<float> pixels;
    for (const std::string file : row.at("images")) {
      const std::vector<float> picture = Preprocess(folder + file, config);
      pixels.insert(pixels.end(), picture.begin(), picture.end());
      ++compared;
    }
    EXPECT_LE(testing::MaxDifference(pixels, Golden(**goldens, name)), kTolerance) << name;
  }
  EXPECT_GE(compared, 4);
}

TEST(PreprocessClip, EqualsClip336Samples) {
  const std::string folder = GoldenPath("preproc-ref/");
  const auto goldens = OpenSafetensors(folder + "golden.safetensors");
  ASSERT_TRUE(goldens.ok()) << goldens.status();
  const PreprocessConfig config = ConfigFrom(R"({"size": 336, "crop_size": 336})");
  const auto cases = testing::ReadJson(folder + "cases.json");
  ASSERT_EQ(cases.at("files").size(), 8u);
  for (const auto& row : cases.at("files")) {
    const std::string file = row.at("file");
    const std::vector<float> all = Preprocess(folder + "images/" + file, config);
    ASSERT_EQ(all.size(), 3u * 336 * 336) << file;
    std::vector<float> sampled;
    for (size_t channel = 0; channel < 3; ++channel) {
      for (size_t y = 0; y < 336; y += 14) {
        for (size_t x = 0; x < 336; x += 14) sampled.push_back(all[(channel * 336 + y) * 336 + x]);
      }
    }
    const std::vector<float> want =
        Golden(**goldens, "llava336/" + file + "/pixel_values_stride14");
    EXPECT_LE(testing::MaxDifference(sampled, want), kTolerance) << file;
  }
}

TEST(ResizedSize, EqualsTheSizeTable) {
  PreprocessConfig config = ConfigFrom(R"({"size": 336, "crop_size": 336})");
  const auto rows = testing::ReadJson(GoldenPath("preproc-ref/cases.json")).at("sizes");
  ASSERT_GE(rows.size(), 90u);
  for (const auto& row : rows) {
    const auto size = ResizedSize({row.at("w"), row.at("h")}, config);
    ASSERT_TRUE(size.ok()) << size.status();
    const auto& want = row.at("llava336");
    EXPECT_EQ(size->height, want.at("resize")[0]) << row;
    EXPECT_EQ(size->width, want.at("resize")[1]) << row;
    EXPECT_EQ(CenterCropAxis(size->height, 336).source, want.at("crop_top_left")[0]) << row;
    EXPECT_EQ(CenterCropAxis(size->width, 336).source, want.at("crop_top_left")[1]) << row;
  }
}

// Every option of the class, odd crops, padding on one or both axes: see gen_extra.py.
TEST(PreprocessClip, EqualsHuggingFaceOnEveryOption) {
  const Bytes blob = testing::ReadBytes(DataPath("preprocessed.bin"));
  const auto rows = testing::ReadJson(DataPath("preprocessed.json"));
  ASSERT_GE(rows.size(), 11u);
  for (const auto& row : rows) {
    const std::string file = row.at("file");
    const PreprocessConfig config = ConfigFrom(row.at("config").dump());
    const RgbImage image = testing::DecodeFile(DataPath(file));
    const auto size = OutputSize({image.width, image.height}, config);
    ASSERT_TRUE(size.ok()) << size.status();
    EXPECT_EQ(size->height, row.at("shape")[1]) << row;
    EXPECT_EQ(size->width, row.at("shape")[2]) << row;
    std::vector<float> want(size_t{3} * static_cast<size_t>(size->height * size->width));
    ASSERT_LE(row.at("offset").get<size_t>() + want.size() * 4, blob.size());
    std::memcpy(want.data(), blob.data() + row.at("offset").get<size_t>(), want.size() * 4);
    const auto values = PreprocessClip(image, config);
    ASSERT_TRUE(values.ok()) << values.status();
    EXPECT_EQ(testing::MaxDifference(*values, want), 0.0) << row;
  }
}

TEST(PreprocessClip, RefusesWhatWouldGrowTooLarge) {
  const PreprocessConfig config = ConfigFrom(R"({"size": 336, "crop_size": 336})");
  const RgbImage strip{2, 16384, Bytes(size_t{2} * 16384 * 3)};
  const auto values = PreprocessClip(strip, config);
  ASSERT_FALSE(values.ok());
  EXPECT_EQ(values.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(values.status().message(),
            "image: 2 by 16384 pixels would be resized to 336 by 2752512, which is too large");
  const PreprocessConfig exact = ConfigFrom(R"({"size": {"height": 16384, "width": 16384}})");
  EXPECT_FALSE(PreprocessClip(strip, exact).ok());
}

TEST(PreprocessClip, RefusesInconsistentImages) {
  for (const RgbImage& image :
       {RgbImage{}, RgbImage{2, 2, Bytes(11)}, RgbImage{-2, -2, Bytes(12)}}) {
    EXPECT_FALSE(PreprocessClip(image, PreprocessConfig()).ok());
  }
}

}  // namespace
}  // namespace concertina
