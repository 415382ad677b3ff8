// Size arithmetic and pixels of CLIP preprocessing with the constants of LLaVA-1.5.
#include <span>

#include "absl/strings/str_cat.h"
#include "models/config/json_file.h"
#include "models/image/decode.h"
#include "models/image/preprocess.h"
#include "tests/golden/compare.h"
#include "tests/golden/folder_checks.h"

namespace concertina::testing {
namespace {

PreprocessConfig Llava336() {
  PreprocessConfig config;
  config.shortest_edge = 336;
  config.crop_height = 336;
  config.crop_width = 336;
  return config;
}

// Pixels (rows, columns) at multiples of the strides.
template <typename T>
std::vector<float> Sampled(const std::vector<T>& values, int64_t height, int64_t width,
                           int64_t channels, int64_t stride) {
  std::vector<float> sampled;
  for (int64_t y = 0; y < height; y += stride) {
    for (int64_t x = 0; x < width; x += stride) {
      for (int64_t c = 0; c < channels; ++c) {
        sampled.push_back(
            static_cast<float>(values[static_cast<size_t>((y * width + x) * channels + c)]));
      }
    }
  }
  return sampled;
}

void CheckSizes(const nlohmann::json& rows, Report* report) {
  report->BeginCase("sizes");
  const PreprocessConfig config = Llava336();
  int64_t resizes = 0, crops = 0;
  for (const nlohmann::json& row : rows) {
    const nlohmann::json& expected = row.at("llava336");
    const auto size = ResizedSize({.width = row.at("w"), .height = row.at("h")}, config);
    const std::vector<int32_t> resized =
        size.ok() ? std::vector<int32_t>{size->height, size->width} : std::vector<int32_t>();
    resizes += resized == expected.at("resize").get<std::vector<int32_t>>() ? 0 : 1;
    if (!size.ok()) {
      ++crops;
      continue;
    }
    const std::vector<int32_t> corner = {CenterCropAxis(size->height, 336).source,
                                         CenterCropAxis(size->width, 336).source};
    crops += corner == expected.at("crop_top_left").get<std::vector<int32_t>>() ? 0 : 1;
  }
  if (rows.empty()) return report->Failed("llava336", "there are no sizes");
  report->Exact("llava336 resize", resizes, absl::StrCat("rows: ", rows.size()));
  report->Exact("llava336 crop_top_left", crops, absl::StrCat("rows: ", rows.size()));
  report->NotChecked("qwen2vl, smolvlm256m", "families that are not built");
}

void CheckDecoded(const RgbImage& image, const std::string& file, const nlohmann::json& info,
                  GoldenFolder* folder, Report* report) {
  report->Exact("upright_hw", std::vector<int32_t>{image.height, image.width} ==
                                      info.at("upright_hw").get<std::vector<int32_t>>()
                                  ? 0
                                  : 1);
  const std::string name = "decoded/" + file;
  if (!folder->Has(name)) return;
  const std::vector<int64_t> shape = folder->Shape(name);
  constexpr int64_t kStride = 7;  // of pictures too large to be kept whole
  const bool whole = shape == std::vector<int64_t>{image.height, image.width, 3};
  const std::vector<float> actual =
      Sampled(image.pixels, image.height, image.width, 3, whole ? 1 : kStride);
  CompareInts("decoded", file, std::vector<int32_t>(actual.begin(), actual.end()), folder, report,
              "decoded");
}

// pixel_values_strideN: every N-th row and column of each channel.
void CheckPixels(const RgbImage& image, const std::string& file, GoldenFolder* folder,
                 Report* report) {
  const std::string prefix = "llava336/" + file;
  const auto pixels = PreprocessClip(image, Llava336());
  if (!pixels.ok()) return report->Failed("pixel_values", std::string(pixels.status().message()));
  for (const int32_t stride : folder->IndicesOf(prefix, "pixel_values_stride")) {
    if (stride < 1) continue;
    std::vector<float> sampled;
    constexpr int64_t kPlane = int64_t{336} * 336;
    for (int64_t channel = 0; channel < 3; ++channel) {
      const auto begin = pixels->begin() + channel * kPlane;
      const std::vector<float> plane =
          Sampled(std::vector<float>(begin, begin + kPlane), 336, 336, 1, stride);
      sampled.insert(sampled.end(), plane.begin(), plane.end());
    }
    CompareFloats(prefix, absl::StrCat("pixel_values_stride", stride), sampled, kPixelTolerance,
                  folder, report);
  }
}

}  // namespace

absl::Status CheckPreprocessing(GoldenFolder* folder, Report* report) {
  CheckSizes(folder->info().at("sizes"), report);
  for (const nlohmann::json& info : folder->info().at("files")) {
    const std::string file = info.at("file");
    report->BeginCase(file);
    const auto bytes = ReadTextFile(folder->path() + "/images/" + file);
    if (!bytes.ok()) {
      report->Failed("decoded", std::string(bytes.status().message()));
      continue;
    }
    const std::span data(reinterpret_cast<const uint8_t*>(bytes->data()), bytes->size());
    const auto image = DecodeImage(data, ImageLimits());
    if (!image.ok()) {
      report->Failed("decoded", std::string(image.status().message()));
      continue;
    }
    CheckDecoded(*image, file, info, folder, report);
    CheckPixels(*image, file, folder, report);
  }
  return absl::OkStatus();
}

}  // namespace concertina::testing
