#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"

namespace concertina {

enum class VisionActivation { kQuickGelu, kGelu };

// A CLIP vision tower with LLaVA's projector (HF CLIPVisionConfig inside LlavaConfig).
struct VisionConfig {
  int32_t hidden = 0;
  int32_t intermediate = 0;
  int32_t layers = 0;
  int32_t heads = 0;       // divides hidden
  int32_t image_side = 0;  // pixels
  int32_t patch_side = 0;  // pixels; what does not fill a patch is not looked at
  float norm_eps = 0;
  VisionActivation activation = VisionActivation::kQuickGelu;
  // Hidden states handed to the projector, side by side: 0 is the encoder's input, `layers` the
  // last layer's output (without post_layernorm). HF counts -1 for the last.
  std::vector<int32_t> feature_layers;
  bool keep_class_token = false;  // vision_feature_select_strategy "full"
  bool projector_bias = true;

  int32_t patches_per_side() const { return image_side / patch_side; }
  int32_t patches() const { return patches_per_side() * patches_per_side(); }
  int32_t tokens() const { return patches() + (keep_class_token ? 1 : 0); }  // per image
};

// From the `config.json` of a LLaVA model. Absent fields take the defaults of HF:
// CLIPVisionConfig's, or without any vision_config those of LlavaConfig (CLIP-L/14 at 336 px).
// INVALID_ARGUMENT, UNIMPLEMENTED: names the field.
absl::StatusOr<VisionConfig> VisionConfigFromJson(const nlohmann::json& llava);

}  // namespace concertina
