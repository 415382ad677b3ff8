#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "models/image/image.h"
#include "models/image/preprocess_config.h"

namespace concertina {

struct PixelSize {
  int32_t width = 0;
  int32_t height = 0;
};

// The size a picture of `original` has after `config`'s resize step: Hugging Face's shortest-edge
// arithmetic, in integers (the long edge is rounded down).
// INVALID_ARGUMENT: more than config.max_resized_pixels.
absl::StatusOr<PixelSize> ResizedSize(const PixelSize& original, const PreprocessConfig& config);

// Where one axis of a centre crop lies: `length` pixels from `source` of the picture go to
// `destination` of the crop, the rest of which stays 0. Source: transformers' center_crop.
struct CropAxis {
  int32_t source = 0;
  int32_t destination = 0;
  int32_t length = 0;
};
CropAxis CenterCropAxis(int32_t size, int32_t crop);

// The size of PreprocessClip's result for a picture of `original`: the crop's, else the resized
// one's.
absl::StatusOr<PixelSize> OutputSize(const PixelSize& original, const PreprocessConfig& config);

// CLIPImageProcessor: resize, centre crop (padding with black where the picture is smaller),
// rescale, normalise. Returns f32 [3, height, width], height and width as OutputSize says; equal to
// the Python class with Pillow 13 to the last bit. Only what the crop shows is resized.
// Thread-safe. INVALID_ARGUMENT: an empty or inconsistent image, or ResizedSize's reason.
absl::StatusOr<std::vector<float>> PreprocessClip(const RgbImage& image,
                                                  const PreprocessConfig& config);

}  // namespace concertina
