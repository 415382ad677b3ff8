#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "models/kernels/matrix.h"
#include "models/kernels/paired_matrix.h"
#include "models/kernels/rope.h"
#include "models/kernels/workspace.h"
#include "models/language/language_config.h"
#include "models/language/language_weights.h"
#include "models/language/low_rank_adapter.h"
#include "models/weights/tensor_source.h"

namespace concertina {

// What loading a language model needs besides its configuration.
struct LanguageSource {
  std::shared_ptr<const TensorSource> weights;  // kept: embedding rows are read from it
  WeightNaming naming = WeightNaming::kHuggingFace;
  const TensorSource* adapter = nullptr;  // nullable; low-rank adapter, read at load only
};

// A Llama decoder (HF LlamaForCausalLM) without its attention: between Qkv() and AfterAttention()
// the caller attends over its own cache. All activations are f32, row-major, one row per token.
// Weights are immutable after loading; the run methods share one workspace and belong to the engine
// thread. With f32 weights a row's result does not depend on the other rows or on their number.
class LanguageModel {
 public:
  // Packs every matrix, several at a time, and lets go of the mapped pages as it does. `progress`
  // gets shares in [0, 1] from the packing threads, one call at a time. NOT_FOUND /
  // INVALID_ARGUMENT: a tensor is missing or has another shape (named).
  static absl::StatusOr<std::unique_ptr<LanguageModel>> Load(
      const LanguageConfig& config, const LanguageSource& source, const MatrixPlan& plan,
      const std::function<void(double)>& progress = {});
  ~LanguageModel();
  LanguageModel(const LanguageModel&) = delete;
  LanguageModel& operator=(const LanguageModel&) = delete;

  const LanguageConfig& config() const { return config_; }
  const RopeTable& rope() const { return rope_; }
  const MatrixPlan& plan() const { return plan_; }
  bool has_adapter() const;
  int64_t weight_bytes() const;       // packed matrices in all copies, adapter and norms
  CopyBytes matrix_bytes() const;     // packed matrices, by copy
  int64_t matrix_parameters() const;  // elements of the matrices, whatever their copies
  int64_t workspace_bytes() const;    // activations between the matrices; grows to the largest call

  // x [n, hidden] <- embedding rows. REQUIRES: 0 <= id < vocab.
  void Embed(std::span<const int32_t> ids, float* x) const;

  // Rows of q [heads * head_dim], k and v [kv_heads * head_dim], all `stride` floats apart.
  struct Projected {
    const float* q;
    const float* k;
    const float* v;
    int64_t stride;
  };
  // Normalises, projects and rotates the input x [n, hidden] of `layer`. The result is the model's
  // and stands until the next run method. adapter_scale: nullable [n]; factor of the low-rank
  // adapter's share in the row (1 where it acts, 0 elsewhere).
  Projected Qkv(int layer, const float* x, int64_t n, const int32_t* positions,
                const float* adapter_scale) const;

  // The rest of the layer: x [n, hidden] holds the layer's input and receives the next layer's;
  // attention [n, heads * head_dim].
  void AfterAttention(int layer, const float* attention, int64_t n, const float* adapter_scale,
                      float* x) const;

  // logits [n, vocab] of the last layer's output x [n, hidden]: final norm, then the head.
  void Logits(const float* x, int64_t n, float* logits) const;

  // y [n, hidden] <- the final norm alone (HF: the last of hidden_states).
  void FinalNorm(const float* x, int64_t n, float* y) const;

 private:
  struct Layer {
    std::vector<float> attention_norm, mlp_norm;
    std::unique_ptr<PackedMatrix> qkv, out, gate_up, down;
    LowRankAdapter qkv_adapter, out_adapter;  // empty without an adapter
  };
  class Loader;

  LanguageModel(const LanguageConfig& config, const MatrixPlan& plan,
                std::shared_ptr<const TensorSource> source);

  std::vector<const PackedMatrix*> matrices() const;

  LanguageConfig config_;
  MatrixPlan plan_;
  RopeTable rope_;
  std::shared_ptr<const TensorSource> source_;
  const TensorInfo* embedding_ = nullptr;
  std::vector<Layer> layers_;
  std::vector<float> final_norm_;
  std::unique_ptr<PackedMatrix> head_;
  mutable Workspace workspace_;
};

}  // namespace concertina
