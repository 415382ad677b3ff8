#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "models/language/language_config.h"
#include "models/language/language_weights.h"
#include "models/weights/tensor_source.h"

namespace concertina {

// Low-rank addition to a (stacked) matrix: y += up (down x). Undefined: adds nothing.
struct TensorAdapter {
  at::Tensor down;  // [ranks, inputs]: the A matrices, stacked
  at::Tensor up;    // [outputs, ranks]: the B matrices, block-diagonal
};

// Weights of a Llama model on one device, all of one floating type.
struct TensorWeights {
  struct Layer {
    at::Tensor attention_norm, mlp_norm;  // [hidden]
    at::Tensor qkv, out, gate_up, down;   // [outputs, inputs]; Q, K, V and gate, up are stacked
    TensorAdapter qkv_adapter, out_adapter;
  };
  std::vector<Layer> layers;
  at::Tensor embedding;   // [vocab, hidden]
  at::Tensor final_norm;  // [hidden]
  at::Tensor head;        // [vocab, hidden]; the embedding itself where they are tied
};

// Reads every matrix through f32. The errors of FindLanguageWeights.
absl::StatusOr<TensorWeights> LoadTensorWeights(const LanguageConfig& config,
                                                const TensorSource& source, WeightNaming naming,
                                                const at::TensorOptions& options);

// Reads the low-rank adapter of every layer's attention (LowRankAdapter). NOT_FOUND,
// INVALID_ARGUMENT: names the tensor.
absl::Status AddTensorAdapters(const LanguageConfig& config, const TensorSource& source,
                               const at::TensorOptions& options, TensorWeights* weights);

// Normally distributed, scaled so that activations keep their size; norms are 1. Seeds LibTorch's
// default generators.
TensorWeights RandomTensorWeights(const LanguageConfig& config, uint64_t seed,
                                  const at::TensorOptions& options);

// The Llama decoder (HF LlamaForCausalLM) without its attention, over tensors of any device and
// floating type. Norms and rotations are computed in f32. Immutable. Throws c10::Error, as LibTorch
// does.
class TensorModel {
 public:
  TensorModel(const LanguageConfig& config, TensorWeights weights);

  const LanguageConfig& config() const { return config_; }
  // Device and floating type of weights and activations.
  at::TensorOptions options() const { return weights_.embedding.options(); }
  int64_t weight_bytes() const;
  int64_t matrix_parameters() const;  // without the embedding, unless it is the head
  bool has_adapter() const { return weights_.layers.front().qkv_adapter.down.defined(); }

  // i64 [n] on the device.
  at::Tensor IdsOnDevice(std::span<const int32_t> ids) const;
  // [n, hidden]. ids: i64 [n].
  at::Tensor Embed(const at::Tensor& ids) const;

  // Cosines and sines of positions, f32 [n, 1, head_dim / 2]; the same for every layer.
  struct Rotation {
    at::Tensor cos, sin;
  };
  Rotation RotationOf(const at::Tensor& positions) const;  // integers [n]

  struct Projected {
    at::Tensor q;     // [n, heads, head_dim], rotated
    at::Tensor k, v;  // [n, kv_heads, head_dim], k rotated
  };
  // adapter: bool [n, 1], where the low-rank adapter acts; undefined: nowhere.
  Projected Qkv(int layer, const at::Tensor& x, const Rotation& rotation,
                const at::Tensor& adapter) const;

  // The next layer's input [n, hidden] from this layer's input x and its attention [n, heads *
  // head_dim].
  at::Tensor AfterAttention(int layer, const at::Tensor& x, const at::Tensor& attention,
                            const at::Tensor& adapter) const;

  // f32 [n, vocab] of the last layer's output.
  at::Tensor Logits(const at::Tensor& x) const;

 private:
  LanguageConfig config_;
  TensorWeights weights_;
  at::Tensor inverse_frequencies_;  // f32 [head_dim / 2]
};

}  // namespace concertina
