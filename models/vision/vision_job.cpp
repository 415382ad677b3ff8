#include "models/vision/vision_job.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "models/kernels/elementwise.h"
#include "models/kernels/prefill_attention.h"

namespace concertina {
namespace {

// Buffers of the encoder's workspace: what a step needs until it ends.
enum Slot : size_t { kPatches, kNormed, kInner, kAttention, kProjected };

int64_t Rows(const VisionConfig& config) { return config.patches() + 1; }

int64_t FeatureWidth(const VisionConfig& config) {
  return static_cast<int64_t>(config.feature_layers.size()) * config.hidden;
}

int64_t PatchMacs(const VisionConfig& config) {
  return int64_t{3} * config.patch_side * config.patch_side * config.hidden;
}

int64_t QkvMacs(const VisionConfig& config) { return int64_t{3} * config.hidden * config.hidden; }

int64_t RestMacs(const VisionConfig& config) {
  return config.hidden * (config.hidden + int64_t{2} * config.intermediate + 2 * Rows(config));
}

int64_t ProjectorMacs(const VisionConfig& config, int64_t output) {
  return output * (FeatureWidth(config) + output);
}

int32_t Deepest(const VisionConfig& config) {
  return *std::max_element(config.feature_layers.begin(), config.feature_layers.end());
}

}  // namespace

VisionJob::VisionJob(const VisionEncoder& encoder, const float* pixels, float* features,
                     HiddenHook hook)
    : encoder_(encoder),
      config_(encoder.config()),
      pixels_(pixels),
      features_(features),
      hook_(std::move(hook)),
      last_(hook_ ? config_.layers : Deepest(config_)),
      hidden_(static_cast<size_t>(Rows(config_) * config_.hidden)),
      qkv_(hidden_.size() * 3),
      selected_(static_cast<size_t>(config_.tokens() * FeatureWidth(config_))) {}

int64_t VisionJob::bytes() const {
  const size_t floats = hidden_.size() + qkv_.size() + selected_.size();
  return static_cast<int64_t>(floats * sizeof(float));
}

int64_t VisionJob::BytesFor(const VisionConfig& config) {
  const int64_t floats = Rows(config) * 4 * config.hidden + config.tokens() * FeatureWidth(config);
  return floats * static_cast<int64_t>(sizeof(float));
}

int64_t VisionJob::PictureMacs(const VisionConfig& config, int64_t output) {
  const int64_t layers = Deepest(config) * Rows(config) * (QkvMacs(config) + RestMacs(config));
  return config.patches() * PatchMacs(config) + layers +
         config.tokens() * ProjectorMacs(config, output);
}

int64_t VisionJob::StageRows() const {
  switch (stage_) {
    case Stage::kPatches:
      return config_.patches();
    case Stage::kQkv:
    case Stage::kRest:
      return Rows(config_);
    case Stage::kProjector:
      return config_.tokens();
    case Stage::kDone:
      break;
  }
  return 0;
}

int64_t VisionJob::row_macs() const {
  switch (stage_) {
    case Stage::kPatches:
      return PatchMacs(config_);
    case Stage::kQkv:
      return QkvMacs(config_);
    case Stage::kRest:
      return RestMacs(config_);
    case Stage::kProjector:
      return ProjectorMacs(config_, encoder_.output_width());
    case Stage::kDone:
      break;
  }
  return 0;
}

bool VisionJob::Step(int64_t most_rows) {
  const int64_t rows = std::min(most_rows, rows_left());
  switch (stage_) {
    case Stage::kPatches:
      EmbedPatches(rows);
      break;
    case Stage::kQkv:
      ProjectQkv(rows);
      break;
    case Stage::kRest:
      FinishLayer(rows);
      break;
    case Stage::kProjector:
      Project(rows);
      break;
    case Stage::kDone:
      break;
  }
  row_ += rows;
  if (rows_left() == 0) NextStage();
  return stage_ == Stage::kDone;
}

void VisionJob::NextStage() {
  row_ = 0;
  if (stage_ == Stage::kQkv) {
    stage_ = Stage::kRest;
    return;
  }
  if (stage_ == Stage::kProjector || stage_ == Stage::kDone) {
    stage_ = Stage::kDone;
    return;
  }
  if (stage_ == Stage::kRest) ++layer_;
  Publish(layer_);
  stage_ = layer_ == last_ ? Stage::kProjector : Stage::kQkv;
}

// Patches (a convolution whose stride is its width is a product with the pixels of each patch) and
// the class token, plus positions, normalised.
void VisionJob::EmbedPatches(int64_t rows) {
  const int64_t side = config_.image_side;
  const int64_t patch = config_.patch_side;
  const int64_t grid = config_.patches_per_side();
  const int64_t width = config_.hidden;
  float* patches = encoder_.workspace_.Floats(kPatches, rows * 3 * patch * patch);
  float* to = patches;
  for (int64_t i = row_; i < row_ + rows; ++i) {
    const int64_t y = i / grid, x = i % grid;
    for (int64_t line = 0; line < 3 * patch; ++line) {  // channel by channel
      const int64_t channel = line / patch;
      const int64_t row = y * patch + line % patch;
      to = std::copy_n(pixels_ + (channel * side + row) * side + x * patch, patch, to);
    }
  }
  float* hidden = hidden_.data() + (1 + row_) * width;
  encoder_.patch_embedding_->Multiply(patches, rows, 3 * patch * patch, hidden, width,
                                      /*accumulate=*/false, nullptr);
  // The class token is the first row; it goes with the first patches.
  const int64_t with_class = row_ == 0 ? 1 : 0;
  if (with_class == 1) {
    std::copy(encoder_.class_embedding_.begin(), encoder_.class_embedding_.end(), hidden_.begin());
  }
  const int64_t first = 1 + row_ - with_class;
  hidden = hidden_.data() + first * width;
  AddRows(encoder_.position_embedding_.data() + first * width, rows + with_class, width, hidden);
  LayerNorm(hidden, encoder_.pre_norm_.weight.data(), encoder_.pre_norm_.bias.data(),
            rows + with_class, width, config_.norm_eps, hidden);
}

void VisionJob::ProjectQkv(int64_t rows) {
  const VisionLayer& layer = encoder_.layers_[static_cast<size_t>(layer_)];
  const int64_t width = config_.hidden;
  float* normed = encoder_.workspace_.Floats(kNormed, rows * width);
  LayerNorm(hidden_.data() + row_ * width, layer.norm1.weight.data(), layer.norm1.bias.data(), rows,
            width, config_.norm_eps, normed);
  layer.qkv.Run(normed, rows, qkv_.data() + row_ * 3 * width);
}

void VisionJob::FinishLayer(int64_t rows) {
  const VisionLayer& layer = encoder_.layers_[static_cast<size_t>(layer_)];
  const int64_t width = config_.hidden;
  const int64_t inner = layer.fc1.matrix->n();
  float* hidden = hidden_.data() + row_ * width;
  float* attention = encoder_.workspace_.Floats(kAttention, rows * width);
  Attend(rows, attention);
  layer.out.Run(attention, rows, hidden, /*accumulate=*/true);

  float* normed = encoder_.workspace_.Floats(kNormed, rows * width);
  float* mlp = encoder_.workspace_.Floats(kInner, rows * inner);
  LayerNorm(hidden, layer.norm2.weight.data(), layer.norm2.bias.data(), rows, width,
            config_.norm_eps, normed);
  layer.fc1.Run(normed, rows, mlp);
  if (config_.activation == VisionActivation::kGelu) {
    Gelu(mlp, rows * inner);
  } else {
    QuickGelu(mlp, rows * inner);
  }
  layer.fc2.Run(mlp, rows, hidden, /*accumulate=*/true);
}

// Every row attends to all rows. qkv_ [rows, 3 * hidden]: the queries of all heads, keys, values.
void VisionJob::Attend(int64_t rows, float* out) {
  const int64_t width = config_.hidden;
  PrefillAttentionArgs args;
  args.heads = config_.heads;
  args.kv_heads = config_.heads;
  args.head_dim = width / config_.heads;
  args.scale = 1.0F / std::sqrt(static_cast<float>(args.head_dim));
  args.causal = false;
  args.q = qkv_.data() + row_ * 3 * width;
  args.q_stride = 3 * width;
  args.k = qkv_.data() + width;
  args.v = qkv_.data() + 2 * width;
  args.kv_head_stride = args.head_dim;
  args.kv_row_stride = 3 * width;
  args.rows = rows;
  args.first_key = Rows(config_) - rows;
  args.out = out;
  args.out_stride = width;
  PrefillAttention(args, encoder_.attention_workspace_);
}

void VisionJob::Project(int64_t rows) {
  const int64_t inner = encoder_.projector1_.matrix->n();
  float* projected = encoder_.workspace_.Floats(kProjected, rows * inner);
  encoder_.projector1_.Run(selected_.data() + row_ * FeatureWidth(config_), rows, projected);
  Gelu(projected, rows * inner);
  encoder_.projector2_.Run(projected, rows, features_ + row_ * encoder_.output_width());
}

void VisionJob::Publish(int32_t index) {
  if (hook_) hook_(index, hidden_.data());
  const int64_t width = config_.hidden;
  const auto count = static_cast<int64_t>(config_.feature_layers.size());
  const int64_t first_row = config_.keep_class_token ? 0 : 1;
  for (int64_t place = 0; place < count; ++place) {
    if (config_.feature_layers[static_cast<size_t>(place)] != index) continue;
    for (int64_t row = 0; row < config_.tokens(); ++row) {
      std::copy_n(hidden_.data() + (first_row + row) * width, width,
                  selected_.data() + (row * count + place) * width);
    }
  }
}

}  // namespace concertina
