#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "models/image/resize.h"

namespace concertina {

// How a picture becomes the vision tower's input. The defaults are those of Hugging Face's
// CLIPImageProcessor.
struct PreprocessConfig {
  bool do_convert_rgb = true;  // pictures are RGB already: DecodeImage converts always
  bool do_resize = true;
  int32_t shortest_edge = 224;  // keeps the aspect ratio; 0: resize to height x width exactly
  int32_t height = 0;
  int32_t width = 0;
  ResizeFilter resample = ResizeFilter::kBicubic;
  bool do_center_crop = true;
  int32_t crop_height = 224;
  int32_t crop_width = 224;
  bool do_rescale = true;
  double rescale_factor = 1.0 / 255.0;
  bool do_normalize = true;
  std::array<float, 3> mean = {0.48145466f, 0.4578275f, 0.40821073f};
  std::array<float, 3> std = {0.26862954f, 0.26130258f, 0.27577711f};

  // Not from the file: larger resized pictures are refused, though only the crop is ever computed.
  int64_t max_resized_pixels = int64_t{64} << 20;

  // Reads a preprocessor_config.json. "size" may be an integer, {"shortest_edge"} or {"height",
  // "width"}, "crop_size" an integer or {"height", "width"}; a field that is absent or null takes
  // its default. INVALID_ARGUMENT: not JSON, another processor's class, an unknown resampling,
  // numbers out of range.
  static absl::StatusOr<PreprocessConfig> FromJson(std::string_view preprocessor_config_json);
};

}  // namespace concertina
