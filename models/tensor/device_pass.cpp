#include "models/tensor/device_pass.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <utility>

#include "models/tensor/tensor_options.h"

namespace concertina {

DevicePass::DevicePass(const TensorModel& model, const DeviceKernels& kernels, DeviceCache& cache,
                       std::vector<float> embeddings, Options options)
    : PromptPass(model.config().layers,
                 static_cast<int32_t>(embeddings.size() / model.config().hidden)),
      model_(model),
      kernels_(kernels),
      cache_(cache),
      options_(options),
      host_(std::move(embeddings)) {}

DevicePass::DevicePass(const TensorModel& model, const DeviceKernels& kernels, DeviceCache& cache,
                       const at::Tensor& embeddings, Options options)
    : PromptPass(model.config().layers, static_cast<int32_t>(embeddings.size(0))),
      model_(model),
      kernels_(kernels),
      cache_(cache),
      options_(options),
      x_(embeddings) {}

absl::Status DevicePass::Begin() {
  absl::Status begun = cache_.BeginPrefill(tokens_, options_.pictures);
  if (!begun.ok()) return begun;
  return Guarded([&] {
    if (!x_.defined()) {  // in place where the device is the host
      x_ = at::from_blob(host_.data(), {tokens_, model_.config().hidden}).to(model_.options());
    }
    const int64_t first = cache_.seen();
    rotation_ =
        model_.RotationOf(at::arange(first, first + tokens_, model_.options().dtype(at::kLong)));
    if (options_.adapter) adapter_ = at::ones({tokens_, 1}, model_.options().dtype(at::kBool));
    return absl::OkStatus();
  });
}

absl::StatusOr<bool> DevicePass::Step(int32_t) {
  absl::Status status = Guarded([&] { return Layer(); });
  if (!status.ok()) return status;
  ++layer_;
  if (layer_ < layers_) return false;
  status = Guarded([&] {
    ToHost();
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  if (options_.fold) cache_.CommitPrefill();
  return true;
}

absl::Status DevicePass::Layer() {
  const TensorModel::Projected projected = model_.Qkv(layer_, x_, rotation_, adapter_);
  LayerEntries all = AllEntries(projected);
  const at::Tensor attention = Attend(projected, &all);
  if (options_.fold) {
    if (absl::Status status = Fold(all); !status.ok()) return status;
  }
  // Of the last layer only the last row's output is used, unless every row is wanted.
  const int64_t from = layer_ + 1 == layers_ && !options_.all_rows ? tokens_ - 1 : 0;
  const auto rest = [&](const at::Tensor& rows) {
    return rows.defined() ? rows.narrow(0, from, tokens_ - from) : rows;
  };
  x_ = model_.AfterAttention(layer_, rest(x_), rest(attention), rest(adapter_));
  return absl::OkStatus();
}

LayerEntries DevicePass::AllEntries(const TensorModel::Projected& projected) const {
  const int64_t kv_heads = projected.k.size(1);
  const int64_t first_birth = cache_.seen();
  LayerEntries all{.k = projected.k.transpose(0, 1), .v = projected.v.transpose(0, 1)};
  const bool beside = cache_.keeps_scores();
  if (beside) {
    const at::TensorOptions ints = all.k.options().dtype(at::kInt);
    all.score = at::zeros({kv_heads, tokens_}, ints.dtype(at::kFloat));
    all.birth = at::arange(first_birth, first_birth + tokens_, ints).expand({kv_heads, tokens_});
    all.mass = at::ones({kv_heads, tokens_}, ints);
  }
  if (cache_.OldEntries(layer_) == 0) return all;
  const LayerEntries old = cache_.Contents(layer_);
  all.k = at::cat({old.k, all.k}, 1);
  all.v = at::cat({old.v, all.v}, 1);
  if (beside) {
    all.score = at::cat({old.score, all.score}, 1);
    all.birth = at::cat({old.birth, all.birth}, 1);
    all.mass = at::cat({old.mass, all.mass}, 1);
  }
  return all;
}

// [tokens, heads * head_dim]; adds the column sums to all->score.
at::Tensor DevicePass::Attend(const TensorModel::Projected& projected, LayerEntries* all) {
  const LanguageConfig& config = model_.config();
  const int64_t held = cache_.OldEntries(layer_);
  const auto scale = static_cast<double>(config.attention_scale());
  const at::Tensor q =
      projected.q.view({tokens_, config.kv_heads, config.heads / config.kv_heads, config.head_dim})
          .permute({1, 2, 0, 3});
  Attended attended = FlashAttention(q, all->k.narrow(1, held, tokens_),
                                     all->v.narrow(1, held, tokens_), scale, /*causal=*/true);
  if (held > 0) {
    attended =
        JoinAttention(attended, FlashAttention(q, all->k.narrow(1, 0, held),
                                               all->v.narrow(1, 0, held), scale, /*causal=*/false));
  }
  if (options_.fold && cache_.policy().policy().needs_scores()) {
    all->score = all->score + kernels_.column_sums({.q = q,
                                                    .k = all->k,
                                                    .log_sum_exp = attended.log_sum_exp,
                                                    .first_key = held,
                                                    .scale = scale});
  }
  return attended.out.permute({2, 0, 1, 3}).reshape({tokens_, config.q_width()});
}

absl::Status DevicePass::Fold(const LayerEntries& all) {
  const auto begin = std::chrono::steady_clock::now();
  const absl::StatusOr<FoldReport> report = cache_.Fold(layer_, all);
  if (!report.ok()) return report.status();
  folds_.push_back(*report);
  fold_time_ += std::chrono::steady_clock::now() - begin;
  return absl::OkStatus();
}

void DevicePass::ToHost() {
  const at::Tensor output = x_.to(at::kCPU, at::kFloat).contiguous();
  const float* values = output.const_data_ptr<float>();
  host_.assign(values, values + output.numel());
}

const float* DevicePass::last_hidden() const {
  return host_.data() + static_cast<int64_t>(host_.size()) - model_.config().hidden;
}

int64_t DevicePass::bytes() const {
  int64_t bytes = static_cast<int64_t>(host_.capacity() * sizeof(float));
  if (x_.defined() && x_.is_cpu()) bytes += static_cast<int64_t>(x_.nbytes());
  return bytes;
}

}  // namespace concertina
