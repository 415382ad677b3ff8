#include "models/vision/vision_config.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "models/config/config_fields.h"
#include "nlohmann/json.hpp"

namespace concertina {
namespace {

constexpr int64_t kMaxLayers = 256;
constexpr int64_t kMaxWidth = 1 << 16;
constexpr int64_t kMaxSide = 4096;      // pixels
constexpr int64_t kMaxPatches = 16384;  // per image
constexpr int64_t kMaxFeatureLayers = 16;

// What HF assumes for absent fields.
struct Defaults {
  int64_t hidden, intermediate, layers, heads, image_side, patch_side;
};
constexpr Defaults kClipDefaults{768, 3072, 12, 12, 224, 32};    // CLIPVisionConfig
constexpr Defaults kLlavaDefaults{1024, 4096, 24, 16, 336, 14};  // LlavaConfig without any

VisionConfig TowerFromJson(ConfigFields& fields, const Defaults& defaults) {
  fields.OneOf("model_type", "clip_vision_model", {"clip_vision_model"});
  VisionConfig config;
  const auto read = [&](std::string_view name, int64_t fallback, int64_t max) {
    return static_cast<int32_t>(fields.Int(name, fallback, 1, max));
  };
  config.hidden = read("hidden_size", defaults.hidden, kMaxWidth);
  config.intermediate = read("intermediate_size", defaults.intermediate, kMaxWidth);
  config.layers = read("num_hidden_layers", defaults.layers, kMaxLayers);
  config.heads = read("num_attention_heads", defaults.heads, kMaxWidth);
  config.image_side = read("image_size", defaults.image_side, kMaxSide);
  config.patch_side = read("patch_size", defaults.patch_side, kMaxSide);
  config.norm_eps = static_cast<float>(fields.Number("layer_norm_eps", 1e-5, 0.0, 1.0));
  if (fields.Int("num_channels", 3, 1, 1024) != 3) fields.Refuse("num_channels", "other than 3");
  const std::string activation = fields.OneOf("hidden_act", "quick_gelu", {"quick_gelu", "gelu"});
  config.activation = activation == "gelu" ? VisionActivation::kGelu : VisionActivation::kQuickGelu;
  if (config.hidden % config.heads != 0) {
    fields.Fail("num_attention_heads", "must divide hidden_size");
  }
  if (config.patches() < 1 || config.patches() > kMaxPatches) {
    fields.Fail("patch_size", "does not fit image_size");
  }
  return config;
}

// `vision_feature_layer`: an index into HF's hidden_states, or several.
void ReadFeatureLayers(ConfigFields& llava, VisionConfig* config) {
  constexpr std::string_view kName = "vision_feature_layer";
  const nlohmann::json* field = llava.Find(kName);
  nlohmann::json list = nlohmann::json::array();
  if (field != nullptr && field->is_array()) {
    list = *field;
  } else {
    list.push_back(field == nullptr ? nlohmann::json(-2) : *field);
  }
  if (list.empty() || list.size() > kMaxFeatureLayers) llava.Fail(kName, "has too few or many");
  for (const nlohmann::json& entry : list) {
    // Both ends count: `layers` + 1 states, the last of them at -1.
    const int64_t states = config->layers + 1;
    const int64_t index = entry.is_number_integer() ? entry.get<int64_t>() : states;
    if (index < -states || index >= states) {
      llava.Fail(kName, absl::StrCat("must be from ", -states, " to ", states - 1));
      return;
    }
    config->feature_layers.push_back(static_cast<int32_t>(index < 0 ? index + states : index));
  }
}

}  // namespace

absl::StatusOr<VisionConfig> VisionConfigFromJson(const nlohmann::json& llava) {
  ConfigFields fields(llava, "model's configuration");
  const nlohmann::json* tower = fields.Object("vision_config");
  static const nlohmann::json kEmpty = nlohmann::json::object();
  ConfigFields tower_fields(tower == nullptr ? kEmpty : *tower, "vision_config");
  VisionConfig config =
      TowerFromJson(tower_fields, tower == nullptr ? kLlavaDefaults : kClipDefaults);
  fields.Adopt(tower_fields.status());
  if (!fields.status().ok()) return fields.status();
  ReadFeatureLayers(fields, &config);
  fields.OneOf("projector_hidden_act", "gelu", {"gelu"});
  config.projector_bias = fields.Bool("multimodal_projector_bias", true);
  config.keep_class_token =
      fields.OneOf("vision_feature_select_strategy", "default", {"default", "full"}) == "full";
  if (!fields.status().ok()) return fields.status();
  return config;
}

}  // namespace concertina
