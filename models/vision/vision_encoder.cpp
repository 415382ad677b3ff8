#include "models/vision/vision_encoder.h"

#include <algorithm>
#include <cmath>

#include "models/kernels/elementwise.h"
#include "models/kernels/prefill_attention.h"

namespace concertina {
namespace {

// Buffers of the workspace. The attention kernel has a workspace of its own.
enum Slot : size_t { kPatches, kHidden, kNormed, kFused, kAttention, kSelected, kProjected };

}  // namespace

VisionEncoder::~VisionEncoder() = default;

int64_t VisionEncoder::weight_bytes() const {
  const size_t floats = class_embedding_.size() + position_embedding_.size() +
                        pre_norm_.weight.size() + pre_norm_.bias.size();
  int64_t bytes = patch_embedding_->bytes() + projector1_.bytes() + projector2_.bytes() +
                  static_cast<int64_t>(floats * sizeof(float));
  for (const VisionLayer& layer : layers_) bytes += layer.bytes();
  return bytes;
}

int64_t VisionEncoder::workspace_bytes() const {
  return workspace_.bytes() + attention_workspace_.bytes();
}

void VisionEncoder::Encode(const float* pixels, int64_t n, float* features,
                           const HiddenHook& hook) const {
  const int64_t tokens = config_.tokens();
  const int64_t width = static_cast<int64_t>(config_.feature_layers.size()) * config_.hidden;
  const int64_t image_size = int64_t{3} * config_.image_side * config_.image_side;
  // One image at a time: a tower's worth of rows fills the kernels, and the workspace stays small.
  for (int64_t image = 0; image < n; ++image) {
    float* selected = workspace_.Floats(kSelected, tokens * width);
    EncodeTower(pixels + image * image_size, image, selected, hook);
    float* projected = workspace_.Floats(kProjected, tokens * projector1_.matrix->n());
    projector1_.Run(selected, tokens, projected);
    Gelu(projected, tokens * projector1_.matrix->n());
    projector2_.Run(projected, tokens, features + image * tokens * output_);
  }
}

void VisionEncoder::EncodeTower(const float* pixels, int64_t image, float* selected,
                                const HiddenHook& hook) const {
  const int64_t rows = config_.patches() + 1;
  float* hidden = workspace_.Floats(kHidden, rows * config_.hidden);
  EmbedPatches(pixels, hidden);
  const int32_t deepest =
      *std::max_element(config_.feature_layers.begin(), config_.feature_layers.end());
  const int32_t last = hook ? config_.layers : deepest;
  for (int32_t index = 0;; ++index) {
    if (hook) hook(image, index, hidden);
    Select(index, hidden, selected);
    if (index == last) break;
    RunLayer(layers_[static_cast<size_t>(index)], hidden);
  }
}

// Patches (a convolution whose stride is its width is a product with the pixels of each patch) and
// the class token, plus positions, normalised.
void VisionEncoder::EmbedPatches(const float* pixels, float* hidden) const {
  const int64_t side = config_.image_side;
  const int64_t patch = config_.patch_side;
  const int64_t grid = config_.patches_per_side();
  const int64_t width = config_.hidden;
  const int64_t rows = grid * grid + 1;
  float* patches = workspace_.Floats(kPatches, grid * grid * 3 * patch * patch);
  float* to = patches;
  for (int64_t y = 0; y < grid; ++y) {
    for (int64_t x = 0; x < grid; ++x) {
      for (int64_t line = 0; line < 3 * patch; ++line) {  // channel by channel
        const int64_t channel = line / patch;
        const int64_t row = y * patch + line % patch;
        to = std::copy_n(pixels + (channel * side + row) * side + x * patch, patch, to);
      }
    }
  }
  std::copy(class_embedding_.begin(), class_embedding_.end(), hidden);
  patch_embedding_->Multiply(patches, grid * grid, 3 * patch * patch, hidden + width, width,
                             /*accumulate=*/false, nullptr);
  AddRows(position_embedding_.data(), rows, width, hidden);
  LayerNorm(hidden, pre_norm_.weight.data(), pre_norm_.bias.data(), rows, width, config_.norm_eps,
            hidden);
}

void VisionEncoder::RunLayer(const VisionLayer& layer, float* hidden) const {
  const int64_t rows = config_.patches() + 1;
  const int64_t width = config_.hidden;
  float* normed = workspace_.Floats(kNormed, rows * width);
  float* fused = workspace_.Floats(kFused, rows * std::max(3 * width, layer.fc1.matrix->n()));
  LayerNorm(hidden, layer.norm1.weight.data(), layer.norm1.bias.data(), rows, width,
            config_.norm_eps, normed);
  layer.qkv.Run(normed, rows, fused);
  Attend(fused, normed);
  layer.out.Run(normed, rows, hidden, /*accumulate=*/true);

  LayerNorm(hidden, layer.norm2.weight.data(), layer.norm2.bias.data(), rows, width,
            config_.norm_eps, normed);
  layer.fc1.Run(normed, rows, fused);
  if (config_.activation == VisionActivation::kGelu) {
    Gelu(fused, rows * layer.fc1.matrix->n());
  } else {
    QuickGelu(fused, rows * layer.fc1.matrix->n());
  }
  layer.fc2.Run(fused, rows, hidden, /*accumulate=*/true);
}

// Every row attends to all rows. qkv [rows, 3 * hidden]: the queries of all heads, keys, values.
void VisionEncoder::Attend(const float* qkv, float* out) const {
  const int64_t width = config_.hidden;
  PrefillAttentionArgs args;
  args.heads = config_.heads;
  args.kv_heads = config_.heads;
  args.head_dim = width / config_.heads;
  args.scale = 1.0F / std::sqrt(static_cast<float>(args.head_dim));
  args.causal = false;
  args.q = qkv;
  args.q_stride = 3 * width;
  args.k = qkv + width;
  args.v = qkv + 2 * width;
  args.kv_head_stride = args.head_dim;
  args.kv_row_stride = 3 * width;
  args.rows = config_.patches() + 1;
  args.out = out;
  args.out_stride = width;
  PrefillAttention(args, attention_workspace_);
}

// Copies hidden state `index` to its places in the projector's input.
void VisionEncoder::Select(int32_t index, const float* hidden, float* selected) const {
  const int64_t width = config_.hidden;
  const int64_t count = static_cast<int64_t>(config_.feature_layers.size());
  const int64_t first_row = config_.keep_class_token ? 0 : 1;
  for (int64_t place = 0; place < count; ++place) {
    if (config_.feature_layers[static_cast<size_t>(place)] != index) continue;
    for (int64_t row = 0; row < config_.tokens(); ++row) {
      std::copy_n(hidden + (first_row + row) * width, width,
                  selected + (row * count + place) * width);
    }
  }
}

}  // namespace concertina
