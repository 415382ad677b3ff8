#include "tests/support/tiny_vision.h"

#include <utility>
#include <vector>

namespace concertina::testing {

VisionConfig TinyVisionConfig() {
  return {.hidden = 12,
          .intermediate = 20,
          .layers = 3,
          .heads = 3,
          .image_side = 17,
          .patch_side = 5,
          .norm_eps = 1e-5F,
          .activation = VisionActivation::kGelu,
          .feature_layers = {2}};
}

MemorySource TinyVision(const VisionConfig& config, int64_t output, const std::string& tower,
                        const std::string& projector) {
  MemorySource source;
  const int64_t hidden = config.hidden;
  const auto set = [&](const std::string& name, std::vector<int64_t> shape) {
    source.SetRandom(name, std::move(shape), 0.5F);
  };
  const auto linear = [&](const std::string& stem, int64_t out, int64_t in) {
    set(stem + ".weight", {out, in});
    set(stem + ".bias", {out});
  };
  const auto norm = [&](const std::string& stem) {
    set(stem + ".weight", {hidden});
    set(stem + ".bias", {hidden});
  };
  set(tower + "embeddings.class_embedding", {hidden});
  set(tower + "embeddings.position_embedding.weight", {config.patches() + 1, hidden});
  set(tower + "embeddings.patch_embedding.weight",
      {hidden, 3, config.patch_side, config.patch_side});
  norm(tower + "pre_layrnorm");
  for (int layer = 0; layer < config.layers; ++layer) {
    const std::string stem = tower + "encoder.layers." + std::to_string(layer) + ".";
    norm(stem + "layer_norm1");
    norm(stem + "layer_norm2");
    for (const char* role : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
      linear(stem + "self_attn." + role, hidden, hidden);
    }
    linear(stem + "mlp.fc1", config.intermediate, hidden);
    linear(stem + "mlp.fc2", hidden, config.intermediate);
  }
  const int64_t in = static_cast<int64_t>(config.feature_layers.size()) * hidden;
  linear(projector + "linear_1", output, in);
  linear(projector + "linear_2", output, output);
  return source;
}

}  // namespace concertina::testing
