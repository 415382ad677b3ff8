#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "models/language/language_config.h"
#include "models/language/language_weights.h"
#include "models/weights/tensor_source.h"

namespace concertina {

// Weights of a Llama model on one device, all of one floating type.
struct TensorWeights {
  struct Layer {
    at::Tensor attention_norm, mlp_norm;  // [hidden]
    at::Tensor qkv, out, gate_up, down;   // [outputs, inputs]; Q, K, V and gate, up are stacked
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
  Projected Qkv(int layer, const at::Tensor& x, const Rotation& rotation) const;

  // The next layer's input [n, hidden] from this layer's input x and its attention [n, heads *
  // head_dim].
  at::Tensor AfterAttention(int layer, const at::Tensor& x, const at::Tensor& attention) const;

  // f32 [n, vocab] of the last layer's output.
  at::Tensor Logits(const at::Tensor& x) const;

 private:
  LanguageConfig config_;
  TensorWeights weights_;
  at::Tensor inverse_frequencies_;  // f32 [head_dim / 2]
};

}  // namespace concertina
