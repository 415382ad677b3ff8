#include "models/image/preprocess.h"

#include <algorithm>
#include <array>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace concertina {
namespace {

using ValueTable = std::array<float, 256>;

// A pixel has 256 values, so the arithmetic is done once for each. Precision and order are NumPy's
// in transformers: rescaled in double, rounded to float, normalised in float.
ValueTable MakeValueTable(const PreprocessConfig& config, size_t channel) {
  ValueTable table;
  for (size_t i = 0; i < table.size(); ++i) {
    float value = static_cast<float>(i);
    if (config.do_rescale) {
      value = static_cast<float>(static_cast<double>(i) * config.rescale_factor);
    }
    if (config.do_normalize) value = (value - config.mean[channel]) / config.std[channel];
    table[i] = value;
  }
  return table;
}

}  // namespace

absl::StatusOr<PixelSize> ResizedSize(const PixelSize& original, const PreprocessConfig& config) {
  if (!config.do_resize) return original;
  int64_t width = config.width;
  int64_t height = config.height;
  if (config.shortest_edge != 0) {
    const int64_t edge = config.shortest_edge;
    width = std::max(edge, edge * original.width / original.height);
    height = std::max(edge, edge * original.height / original.width);
  }
  if (width > config.max_resized_pixels / height) {
    return absl::InvalidArgumentError(absl::StrCat("image: ", original.width, " by ",
                                                   original.height, " pixels would be resized to ",
                                                   width, " by ", height, ", which is too large"));
  }
  return PixelSize{static_cast<int32_t>(width), static_cast<int32_t>(height)};
}

CropAxis CenterCropAxis(int32_t size, int32_t crop) {
  if (size >= crop) return {(size - crop) / 2, 0, crop};
  return {0, (crop - size + 1) / 2, size};
}

absl::StatusOr<PixelSize> OutputSize(const PixelSize& original, const PreprocessConfig& config) {
  if (config.do_center_crop) return PixelSize{config.crop_width, config.crop_height};
  return ResizedSize(original, config);
}

absl::StatusOr<std::vector<float>> PreprocessClip(const RgbImage& image,
                                                  const PreprocessConfig& config) {
  const size_t pixels = static_cast<size_t>(image.width) * static_cast<size_t>(image.height);
  if (image.width < 1 || image.height < 1 || image.pixels.size() != 3 * pixels) {
    return absl::InvalidArgumentError("image: its size and its pixels do not agree");
  }
  const PixelSize original{image.width, image.height};
  absl::StatusOr<PixelSize> resized = ResizedSize(original, config);
  if (!resized.ok()) return resized.status();
  absl::StatusOr<PixelSize> output = OutputSize(original, config);
  if (!output.ok()) return output.status();

  const CropAxis columns = CenterCropAxis(resized->width, output->width);
  const CropAxis rows = CenterCropAxis(resized->height, output->height);
  const RgbImage visible =
      ResizePilWindow(image, resized->width, resized->height, config.resample,
                      {columns.source, rows.source, columns.length, rows.length});

  const size_t width = static_cast<size_t>(output->width);
  const size_t plane = width * static_cast<size_t>(output->height);
  std::vector<float> out(3 * plane);
  for (size_t channel = 0; channel < 3; ++channel) {
    const ValueTable table = MakeValueTable(config, channel);
    float* to_plane = out.data() + channel * plane;
    // Padding comes before rescaling and normalising, so it is what a black pixel becomes.
    if (visible.pixels.size() != 3 * plane) std::fill_n(to_plane, plane, table[0]);
    const uint8_t* from = visible.pixels.data() + channel;
    for (int32_t y = 0; y < visible.height; ++y) {
      float* to =
          to_plane + static_cast<size_t>(rows.destination + y) * width + columns.destination;
      for (int32_t x = 0; x < visible.width; ++x, from += 3) to[x] = table[*from];
    }
  }
  return out;
}

}  // namespace concertina
