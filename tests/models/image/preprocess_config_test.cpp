#include "models/image/preprocess_config.h"

#include <gtest/gtest.h>

#include "tests/models/image/image_test_data.h"

namespace concertina {
namespace {

std::string Parse(std::string_view json) {
  const auto config = PreprocessConfig::FromJson(json);
  if (config.ok()) return "ok";
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(config.status().message());
}

TEST(PreprocessConfig, DefaultsAreClips) {
  for (const char* json : {"{}", R"({"size": null, "resample": null, "image_mean": null})"}) {
    const auto config = PreprocessConfig::FromJson(json);
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_TRUE(config->do_resize && config->do_center_crop && config->do_rescale &&
                config->do_normalize && config->do_convert_rgb);
    EXPECT_EQ(config->shortest_edge, 224);
    EXPECT_EQ(config->crop_height, 224);
    EXPECT_EQ(config->crop_width, 224);
    EXPECT_EQ(config->resample, ResizeFilter::kBicubic);
    EXPECT_EQ(config->rescale_factor, 1.0 / 255.0);
    EXPECT_EQ(config->mean[1], 0.4578275f);
    EXPECT_EQ(config->std[2], 0.27577711f);
  }
}

TEST(PreprocessConfig, ReadsEveryForm) {
  const auto config = PreprocessConfig::FromJson(R"({
    "image_processor_type": "CLIPImageProcessor", "size": {"height": 12, "width": 34},
    "crop_size": {"height": 5, "width": 6}, "resample": 2, "do_center_crop": false,
    "do_rescale": false, "rescale_factor": 0.5, "do_normalize": false, "do_resize": false,
    "do_convert_rgb": false, "image_mean": 0.25, "image_std": [1, 2, 3], "unrelated": {"x": []}})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->shortest_edge, 0);
  EXPECT_EQ(config->height, 12);
  EXPECT_EQ(config->width, 34);
  EXPECT_EQ(config->crop_height, 5);
  EXPECT_EQ(config->crop_width, 6);
  EXPECT_EQ(config->resample, ResizeFilter::kBilinear);
  EXPECT_FALSE(config->do_resize || config->do_center_crop || config->do_rescale ||
               config->do_normalize || config->do_convert_rgb);
  EXPECT_EQ(config->rescale_factor, 0.5);
  EXPECT_EQ(config->mean[2], 0.25f);
  EXPECT_EQ(config->std[2], 3.0f);

  const auto integers =
      PreprocessConfig::FromJson(R"({"size": 48, "crop_size": 40, "resample": 1})");
  ASSERT_TRUE(integers.ok());
  EXPECT_EQ(integers->shortest_edge, 48);
  EXPECT_EQ(integers->crop_width, 40);
  EXPECT_EQ(integers->crop_height, 40);
  EXPECT_EQ(integers->resample, ResizeFilter::kLanczos);
}

TEST(PreprocessConfig, ReadsTheShippedFiles) {
  for (const char* path : {"/tests/goldens/llava15-tiny/preprocessor_config.json",
                           "/models/bundled/smollm2-135m-vision/preprocessor_config.json"}) {
    const auto bytes = testing::ReadBytes(std::string(CONCERTINA_SOURCE_DIR) + path);
    EXPECT_EQ(Parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}), "ok") << path;
  }
}

TEST(PreprocessConfig, RefusesWhatItCannotDo) {
  const std::string prefix = "preprocessor config: ";
  EXPECT_EQ(Parse(""), prefix + "not a JSON object");
  EXPECT_EQ(Parse("[1"), prefix + "not a JSON object");
  EXPECT_EQ(Parse(std::string(100000, '[')), prefix + "values are nested too deeply");
  EXPECT_EQ(Parse("[]"), prefix + "not a JSON object");
  const std::string resample = prefix + "resample must be 1 (Lanczos), 2 (bilinear) or 3 (bicubic)";
  for (const char* value : {"0", "4", "5", "-1", "2.0", "\"bicubic\"", "true"}) {
    EXPECT_EQ(Parse(std::string(R"({"resample": )") + value + "}"), resample) << value;
  }
  EXPECT_EQ(Parse(R"({"size": 0})"), prefix + "size must be 1 to 16384");
  EXPECT_EQ(Parse(R"({"size": 18446744073709551615})"), prefix + "size must be 1 to 16384");
  EXPECT_EQ(Parse(R"({"size": -9223372036854775808})"), prefix + "size must be 1 to 16384");
  EXPECT_EQ(Parse(R"({"size": 2.5})"), prefix + "size must be an integer");
  EXPECT_EQ(Parse(R"({"size": {"longest_edge": 9}})"),
            prefix + "size must have height and width, and nothing else");
  EXPECT_EQ(Parse(R"({"size": {"shortest_edge": 9, "longest_edge": 12}})"),
            prefix + "size must have height and width, and nothing else");
  EXPECT_EQ(Parse(R"({"crop_size": {"height": 9}})"),
            prefix + "crop_size must have height and width, and nothing else");
  EXPECT_EQ(Parse(R"({"crop_size": 16384})"), prefix + "crop_size is too large");
  EXPECT_EQ(Parse(R"({"image_std": [1, 0, 1]})"), prefix + "image_std must not be zero");
  EXPECT_EQ(Parse(R"({"image_mean": [1, 2]})"),
            prefix + "image_mean must be a number or three numbers");
  EXPECT_EQ(Parse(R"({"image_mean": 1e300})"), prefix + "image_mean is out of range");
  EXPECT_EQ(Parse(R"({"rescale_factor": 1e300})"), prefix + "rescale_factor is out of range");
  EXPECT_EQ(Parse(R"({"do_resize": 1})"), prefix + "do_resize must be true or false");
  EXPECT_EQ(Parse(R"({"image_processor_type": "Qwen2VLImageProcessor"})"),
            prefix + "image_processor_type must be CLIPImageProcessor");
  EXPECT_EQ(Parse(R"({"do_pad": true})"), prefix + "do_pad is not supported");
}

}  // namespace
}  // namespace concertina
