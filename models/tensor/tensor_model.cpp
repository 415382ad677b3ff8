#include "models/tensor/tensor_model.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/silu.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "models/packing/stacked_matrix.h"

namespace concertina {
namespace {

constexpr int64_t kReadRows = 1024;  // converted at a time

absl::StatusOr<at::Tensor> Matrix(const TensorSource& source, const StackedMatrix& stack,
                                  const at::TensorOptions& options) {
  at::Tensor matrix = at::empty({stack.rows, stack.columns}, options);
  std::vector<float> rows(static_cast<size_t>(std::min(kReadRows, stack.rows) * stack.columns));
  for (int64_t begin = 0; begin < stack.rows; begin += kReadRows) {
    const int64_t count = std::min(kReadRows, stack.rows - begin);
    if (absl::Status status = stack.ReadRows(source, begin, begin + count, rows.data());
        !status.ok()) {
      return status;
    }
    matrix.narrow(0, begin, count).copy_(at::from_blob(rows.data(), {count, stack.columns}));
  }
  for (const MatrixPart& part : stack.parts) source.Release(*part.tensor);
  return matrix;
}

absl::StatusOr<at::Tensor> Vector(const TensorSource& source, const std::string& name, int64_t size,
                                  const at::TensorOptions& options) {
  absl::StatusOr<std::vector<float>> values = ReadAll(source, name, {size});
  if (!values.ok()) return values.status();
  at::Tensor vector = at::empty({size}, options);
  vector.copy_(at::from_blob(values->data(), {size}));
  return vector;
}

// Reads tensors one after another; the first fault sticks.
class Reader {
 public:
  Reader(const TensorSource& source, const at::TensorOptions& options)
      : source_(source), options_(options) {}

  at::Tensor Read(const StackedMatrix& stack) { return Keep(Matrix(source_, stack, options_)); }
  at::Tensor Read(const std::string& name, int64_t size) {
    return Keep(Vector(source_, name, size, options_));
  }
  const absl::Status& status() const { return status_; }

 private:
  at::Tensor Keep(absl::StatusOr<at::Tensor> read) {
    if (read.ok()) return *std::move(read);
    status_.Update(read.status());
    return {};
  }

  const TensorSource& source_;
  at::TensorOptions options_;
  absl::Status status_;
};

// x [n, heads, head_dim]: halves of a head are rotated against one another, as Hugging Face does.
at::Tensor Rotated(const at::Tensor& x, const TensorModel::Rotation& rotation) {
  const int64_t half = x.size(2) / 2;
  const at::Tensor first = x.narrow(2, 0, half).to(at::kFloat);
  const at::Tensor second = x.narrow(2, half, half).to(at::kFloat);
  return at::cat({first * rotation.cos - second * rotation.sin,
                  second * rotation.cos + first * rotation.sin},
                 2)
      .to(x.scalar_type());
}

int64_t Bytes(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0;
}

// y with the adapter's share of x in the rows where it acts. Zero elsewhere even for a row with an
// infinity, so that it never reaches rows it does not act on.
at::Tensor WithAdapter(const at::Tensor& y, const TensorAdapter& adapter, const at::Tensor& x,
                       const at::Tensor& acts) {
  if (!acts.defined() || !adapter.down.defined()) return y;
  const at::Tensor share = at::linear(x, adapter.down).masked_fill(acts.logical_not(), 0.0);
  return y + at::linear(share, adapter.up);
}

}  // namespace

absl::StatusOr<TensorWeights> LoadTensorWeights(const LanguageConfig& config,
                                                const TensorSource& source, WeightNaming naming,
                                                const at::TensorOptions& options) {
  const absl::StatusOr<LanguageWeights> found = FindLanguageWeights(source, naming, config);
  if (!found.ok()) return found.status();
  Reader reader(source, options);
  TensorWeights weights;
  for (const LayerWeights& layer : found->layers) {
    weights.layers.push_back({.attention_norm = reader.Read(layer.attention_norm, config.hidden),
                              .mlp_norm = reader.Read(layer.mlp_norm, config.hidden),
                              .qkv = reader.Read(layer.qkv),
                              .out = reader.Read(layer.out),
                              .gate_up = reader.Read(layer.gate_up),
                              .down = reader.Read(layer.down)});
    if (!reader.status().ok()) return reader.status();
  }
  weights.final_norm = reader.Read(found->final_norm, config.hidden);
  weights.head = reader.Read(found->head);
  const StackedMatrix embedding{.parts = {{.tensor = found->embedding, .rows = config.vocab}},
                                .rows = config.vocab,
                                .columns = config.hidden};
  weights.embedding = config.tied ? weights.head : reader.Read(embedding);
  if (!reader.status().ok()) return reader.status();
  return weights;
}

TensorWeights RandomTensorWeights(const LanguageConfig& config, uint64_t seed,
                                  const at::TensorOptions& options) {
  at::manual_seed(seed);
  const auto matrix = [&](int64_t rows, int64_t columns) {
    return at::empty({rows, columns}, options)
        .normal_(0.0, 1.0 / std::sqrt(static_cast<double>(columns)));
  };
  const auto norm = [&] { return at::ones({config.hidden}, options); };
  TensorWeights weights;
  for (int32_t layer = 0; layer < config.layers; ++layer) {
    weights.layers.push_back(
        {.attention_norm = norm(),
         .mlp_norm = norm(),
         .qkv = matrix(config.q_width() + 2 * config.kv_width(), config.hidden),
         .out = matrix(config.hidden, config.q_width()),
         .gate_up = matrix(2 * int64_t{config.intermediate}, config.hidden),
         .down = matrix(config.hidden, config.intermediate)});
  }
  weights.final_norm = norm();
  weights.embedding = matrix(config.vocab, config.hidden);
  weights.head = config.tied ? weights.embedding : matrix(config.vocab, config.hidden);
  return weights;
}

TensorModel::TensorModel(const LanguageConfig& config, TensorWeights weights)
    : config_(config), weights_(std::move(weights)) {
  // As models/kernels/rope.cpp, every step in f32.
  std::vector<float> frequencies;
  for (int32_t i = 0; i < config.head_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(config.head_dim);
    frequencies.push_back(1.0F / std::pow(static_cast<float>(config.rope_theta), exponent));
  }
  const auto count = static_cast<int64_t>(frequencies.size());
  inverse_frequencies_ = at::empty({count}, options().dtype(at::kFloat));
  inverse_frequencies_.copy_(at::from_blob(frequencies.data(), {count}));
}

int64_t TensorModel::weight_bytes() const {
  int64_t bytes = Bytes(weights_.embedding) + Bytes(weights_.final_norm);
  if (!config_.tied) bytes += Bytes(weights_.head);
  for (const TensorWeights::Layer& layer : weights_.layers) {
    bytes += Bytes(layer.attention_norm) + Bytes(layer.mlp_norm) + Bytes(layer.qkv) +
             Bytes(layer.out) + Bytes(layer.gate_up) + Bytes(layer.down);
    for (const TensorAdapter* adapter : {&layer.qkv_adapter, &layer.out_adapter}) {
      bytes += Bytes(adapter->down) + Bytes(adapter->up);
    }
  }
  return bytes;
}

int64_t TensorModel::matrix_parameters() const {
  int64_t sum = weights_.head.numel();
  for (const TensorWeights::Layer& layer : weights_.layers) {
    sum += layer.qkv.numel() + layer.out.numel() + layer.gate_up.numel() + layer.down.numel();
  }
  return sum;
}

at::Tensor TensorModel::IdsOnDevice(std::span<const int32_t> ids) const {
  at::Tensor host =
      at::empty({static_cast<int64_t>(ids.size())}, at::TensorOptions().dtype(at::kLong));
  std::copy(ids.begin(), ids.end(), host.mutable_data_ptr<int64_t>());
  return host.to(options().device());
}

at::Tensor TensorModel::Embed(const at::Tensor& ids) const {
  return at::embedding(weights_.embedding, ids);
}

TensorModel::Rotation TensorModel::RotationOf(const at::Tensor& positions) const {
  const at::Tensor angles =
      positions.to(at::kFloat).unsqueeze(1).mul(inverse_frequencies_).unsqueeze(1);
  return {.cos = angles.cos(), .sin = angles.sin()};
}

TensorModel::Projected TensorModel::Qkv(int layer, const at::Tensor& x, const Rotation& rotation,
                                        const at::Tensor& adapter) const {
  const TensorWeights::Layer& weights = weights_.layers[static_cast<size_t>(layer)];
  const at::Tensor normed =
      at::rms_norm(x, {config_.hidden}, weights.attention_norm, config_.rms_eps);
  const at::Tensor fused =
      WithAdapter(at::linear(normed, weights.qkv), weights.qkv_adapter, normed, adapter)
          .view({x.size(0), config_.heads + 2 * int64_t{config_.kv_heads}, config_.head_dim});
  // Q and K are neighbours in the stack and rotate alike.
  const at::Tensor rotated =
      Rotated(fused.narrow(1, 0, config_.heads + config_.kv_heads), rotation);
  return {.q = rotated.narrow(1, 0, config_.heads),
          .k = rotated.narrow(1, config_.heads, config_.kv_heads),
          .v = fused.narrow(1, config_.heads + config_.kv_heads, config_.kv_heads)};
}

at::Tensor TensorModel::AfterAttention(int layer, const at::Tensor& x, const at::Tensor& attention,
                                       const at::Tensor& adapter) const {
  const TensorWeights::Layer& weights = weights_.layers[static_cast<size_t>(layer)];
  const at::Tensor y =
      WithAdapter(x + at::linear(attention, weights.out), weights.out_adapter, attention, adapter);
  const at::Tensor normed = at::rms_norm(y, {config_.hidden}, weights.mlp_norm, config_.rms_eps);
  const at::Tensor gate_up = at::linear(normed, weights.gate_up);
  const at::Tensor gate = gate_up.narrow(1, 0, config_.intermediate);
  const at::Tensor up = gate_up.narrow(1, config_.intermediate, config_.intermediate);
  return y + at::linear(at::silu(gate).mul_(up), weights.down);
}

at::Tensor TensorModel::Logits(const at::Tensor& x) const {
  const at::Tensor normed = at::rms_norm(x, {config_.hidden}, weights_.final_norm, config_.rms_eps);
  return at::linear(normed, weights_.head).to(at::kFloat);
}

}  // namespace concertina
