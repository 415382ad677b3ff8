#include "tests/golden/pictures.h"

#include <span>

#include "absl/strings/str_cat.h"
#include "models/config/json_file.h"
#include "models/image/decode.h"
#include "models/weights/sha256.h"
#include "tests/golden/compare.h"

namespace concertina::testing {
namespace {

absl::StatusOr<std::shared_ptr<const PreparedImage>> LoadPicture(const Model& model,
                                                                 const std::string& path) {
  absl::StatusOr<std::string> bytes = ReadTextFile(path);
  if (!bytes.ok()) return bytes.status();
  const std::span data(reinterpret_cast<const uint8_t*>(bytes->data()), bytes->size());
  absl::StatusOr<RgbImage> image = DecodeImage(data, ImageLimits());
  if (!image.ok()) return image.status();
  absl::StatusOr<std::vector<float>> pixels = PreprocessClip(*image, model.preprocess);
  if (!pixels.ok()) return pixels.status();
  absl::StatusOr<std::string> sha256 = Sha256OfFile(path);
  if (!sha256.ok()) return sha256.status();
  return std::make_shared<PreparedImage>(PreparedImage{*std::move(sha256), *std::move(pixels)});
}

}  // namespace

absl::StatusOr<PreparedImages> LoadPictures(const Model& model,
                                            const std::vector<std::string>& paths) {
  if (!paths.empty() && !model.vision) return absl::InvalidArgumentError("the model has no vision");
  PreparedImages images;
  for (const std::string& path : paths) {
    auto image = LoadPicture(model, path);
    if (!image.ok()) {
      return absl::Status(image.status().code(),
                          absl::StrCat(path, ": ", image.status().message()));
    }
    images.push_back(*std::move(image));
  }
  return images;
}

std::vector<float> CheckVision(const Model& model, const PreparedImages& images,
                               const std::string& prefix, GoldenFolder* folder, Report* report) {
  if (images.empty()) return {};
  std::vector<float> pixels;
  for (const auto& image : images) {
    pixels.insert(pixels.end(), image->pixels.begin(), image->pixels.end());
  }
  CompareFloats(prefix, "pixel_values", pixels, kPixelTolerance, folder, report);
  const VisionEncoder& vision = *model.vision;
  const auto n = static_cast<int64_t>(images.size());
  std::vector<float> features(
      static_cast<size_t>(n * vision.tokens_per_image() * vision.output_width()));
  const int64_t hidden_size = int64_t{vision.config().patches() + 1} * vision.config().hidden;
  const auto compare_hidden = [&](int64_t image, int32_t index, const float* hidden) {
    if (image != 0) return;
    CompareFloats(prefix, absl::StrCat("vision_hidden.", index),
                  std::vector<float>(hidden, hidden + hidden_size), kFeatureTolerance, folder,
                  report);
  };
  const bool wants_hidden = !folder->IndicesOf(prefix, "vision_hidden.").empty();
  vision.Encode(pixels.data(), n, features.data(),
                wants_hidden ? VisionEncoder::HiddenHook(compare_hidden) : nullptr);
  CompareFloats(prefix, "image_features", features, kFeatureTolerance, folder, report);
  return features;
}

}  // namespace concertina::testing
