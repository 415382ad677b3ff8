#include "models/language/language_model.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "absl/status/status.h"
#include "models/kernels/elementwise.h"

namespace concertina {
namespace {

// Buffers of the workspace.
enum Slot : size_t { kNormed, kFused, kActivated, kAdapterScratch };

// True when the adapter acts on any of the rows.
bool AnyRow(const float* adapter_scale, int64_t n) {
  return adapter_scale != nullptr &&
         std::any_of(adapter_scale, adapter_scale + n, [](float scale) { return scale != 0.0F; });
}

int64_t NormBytes(const std::vector<float>& norm) {
  return static_cast<int64_t>(norm.size() * sizeof(float));
}

}  // namespace

LanguageModel::LanguageModel(const LanguageConfig& config, const MatrixPlan& plan,
                             std::shared_ptr<const TensorSource> source)
    : config_(config),
      plan_(plan),
      rope_(config.head_dim, config.rope_theta),
      source_(std::move(source)),
      layers_(static_cast<size_t>(config.layers)) {}

LanguageModel::~LanguageModel() = default;

bool LanguageModel::has_adapter() const { return !layers_.front().qkv_adapter.empty(); }

int64_t LanguageModel::weight_bytes() const {
  const CopyBytes copies = matrix_bytes();
  int64_t bytes = copies.few + copies.many + NormBytes(final_norm_);
  for (const Layer& layer : layers_) {
    bytes += layer.qkv_adapter.bytes() + layer.out_adapter.bytes() +
             NormBytes(layer.attention_norm) + NormBytes(layer.mlp_norm);
  }
  return bytes;
}

std::vector<const PackedMatrix*> LanguageModel::matrices() const {
  std::vector<const PackedMatrix*> all{head_.get()};
  for (const Layer& layer : layers_) {
    for (const auto* matrix : {&layer.qkv, &layer.out, &layer.gate_up, &layer.down}) {
      all.push_back(matrix->get());
    }
  }
  return all;
}

CopyBytes LanguageModel::matrix_bytes() const {
  CopyBytes sum;
  for (const PackedMatrix* matrix : matrices()) {
    const CopyBytes own = BytesOfCopies(*matrix);
    sum.few += own.few;
    sum.many += own.many;
  }
  return sum;
}

int64_t LanguageModel::matrix_parameters() const {
  int64_t sum = 0;
  for (const PackedMatrix* matrix : matrices()) sum += matrix->n() * matrix->k();
  return sum;
}

int64_t LanguageModel::workspace_bytes() const { return workspace_.bytes() + rope_.bytes(); }

void LanguageModel::Embed(std::span<const int32_t> ids, float* x) const {
  for (const int32_t id : ids) {
    assert(id >= 0 && id < config_.vocab);
    [[maybe_unused]] const absl::Status status = source_->ReadRows(*embedding_, id, id + 1, x);
    assert(status.ok());  // the rows were readable when the head was packed or the model loaded
    x += config_.hidden;
  }
}

LanguageModel::Projected LanguageModel::Qkv(int layer, const float* x, int64_t n,
                                            const int32_t* positions,
                                            const float* adapter_scale) const {
  const Layer& weights = layers_[static_cast<size_t>(layer)];
  const int64_t q_width = config_.q_width();
  const int64_t kv_width = config_.kv_width();
  const int64_t width = q_width + 2 * kv_width;
  float* normed = workspace_.Floats(kNormed, n * config_.hidden);
  float* fused = workspace_.Floats(kFused, n * width);
  RmsNorm(x, weights.attention_norm.data(), n, config_.hidden, config_.rms_eps, normed);
  weights.qkv->Multiply(normed, n, config_.hidden, fused, width, /*accumulate=*/false, nullptr);
  if (AnyRow(adapter_scale, n)) {
    float* scratch = workspace_.Floats(kAdapterScratch, weights.qkv_adapter.ScratchSize(n));
    weights.qkv_adapter.Add(normed, n, adapter_scale, scratch, fused);
  }
  // Q and K are neighbours in the stack and rotate alike.
  rope_.Rotate(fused, n, config_.heads + config_.kv_heads, width, positions);
  return {.q = fused, .k = fused + q_width, .v = fused + q_width + kv_width, .stride = width};
}

void LanguageModel::AfterAttention(int layer, const float* attention, int64_t n,
                                   const float* adapter_scale, float* x) const {
  const Layer& weights = layers_[static_cast<size_t>(layer)];
  const int64_t hidden = config_.hidden;
  const int64_t inter = config_.intermediate;
  weights.out->Multiply(attention, n, config_.q_width(), x, hidden, /*accumulate=*/true, nullptr);
  if (AnyRow(adapter_scale, n)) {
    float* scratch = workspace_.Floats(kAdapterScratch, weights.out_adapter.ScratchSize(n));
    weights.out_adapter.Add(attention, n, adapter_scale, scratch, x);
  }
  float* normed = workspace_.Floats(kNormed, n * hidden);
  float* gate_up = workspace_.Floats(kFused, n * 2 * inter);
  float* activated = workspace_.Floats(kActivated, n * inter);
  RmsNorm(x, weights.mlp_norm.data(), n, hidden, config_.rms_eps, normed);
  weights.gate_up->Multiply(normed, n, hidden, gate_up, 2 * inter, /*accumulate=*/false, nullptr);
  SiluMultiply(gate_up, n, inter, activated);
  weights.down->Multiply(activated, n, inter, x, hidden, /*accumulate=*/true, nullptr);
}

void LanguageModel::Logits(const float* x, int64_t n, float* logits) const {
  float* normed = workspace_.Floats(kNormed, n * config_.hidden);
  FinalNorm(x, n, normed);
  head_->Multiply(normed, n, config_.hidden, logits, config_.vocab, /*accumulate=*/false, nullptr);
}

void LanguageModel::FinalNorm(const float* x, int64_t n, float* y) const {
  RmsNorm(x, final_norm_.data(), n, config_.hidden, config_.rms_eps, y);
}

}  // namespace concertina
