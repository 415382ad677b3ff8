#include "models/tensor/tensor_decoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace concertina {

TensorDecoder::TensorDecoder(const LanguageConfig& config, TensorWeights weights,
                             const Options& options)
    : model_(config, std::move(weights)),
      kernels_(options.kernels != nullptr ? *options.kernels
                                          : KernelsFor(model_.options().device())),
      cache_({.heads = {.layers = config.layers,
                        .kv_heads = config.kv_heads,
                        .head_dim = config.head_dim},
              .rows = options.rows,
              .pages = options.pool_pages,
              .entries_per_page = options.entries_per_page},
             model_.options()),
      tokens_(at::zeros({options.rows}, model_.options().dtype(at::kLong))),
      logits_(at::zeros({options.rows, config.vocab}, model_.options().dtype(at::kFloat))),
      rows_(options.rows) {
  if (options.capture && kernels_.make_step_runner != nullptr) {
    runner_ = kernels_.make_step_runner();
  }
}

absl::Status TensorDecoder::SetPolicy(const std::string& name, const PolicyOptions& options,
                                      const Budget& budget) {
  if (absl::Status status = ValidateBudget(budget); !status.ok()) return status;
  if (budget.unit == Budget::Unit::kBytes) {
    return absl::UnimplementedError("budgets in bytes are not held on a device");
  }
  const absl::StatusOr<DevicePolicy> policy = DevicePolicy::Make(name, options);
  if (!policy.ok()) return policy.status();
  cache_.SetPolicy(*policy, budget);
  scores_ = policy->policy().needs_scores();
  folds_ = !policy->keeps_everything();
  return absl::OkStatus();
}

absl::Status TensorDecoder::CheckPrompt(int64_t row, std::span<const int32_t> ids) const {
  const auto count = static_cast<int64_t>(ids.size());
  const int64_t first = cache_.seen(row);
  if (count < 1 || first + count > model_.config().max_positions) {
    return absl::InvalidArgumentError(absl::StrCat("a prompt of ", count, " tokens after ", first,
                                                   " of at most ", model_.config().max_positions));
  }
  return CheckIds(ids);
}

absl::Status TensorDecoder::CheckIds(std::span<const int32_t> ids) const {
  for (const int32_t id : ids) {
    if (id < 0 || id >= model_.config().vocab) {
      return absl::InvalidArgumentError(absl::StrCat("token ", id, " is not in the vocabulary"));
    }
  }
  return absl::OkStatus();
}

at::Tensor TensorDecoder::ToDevice(std::span<const int32_t> ids) const {
  std::vector<int32_t> copy(ids.begin(), ids.end());
  return at::from_blob(copy.data(), {static_cast<int64_t>(copy.size())},
                       at::TensorOptions().dtype(at::kInt))
      .to(at::kLong)
      .to(model_.options().device());
}

absl::Status TensorDecoder::Prefill(int64_t row, std::span<const int32_t> ids) {
  const auto count = static_cast<int64_t>(ids.size());
  const int64_t first = cache_.seen(row);
  cache_.BeginPrefill(row, count);
  at::Tensor x = model_.Embed(ToDevice(ids));
  const TensorModel::Rotation rotation =
      model_.RotationOf(at::arange(first, first + count, model_.options().dtype(at::kLong)));
  for (int layer = 0; layer < model_.config().layers; ++layer) {
    if (absl::Status status = PrefillLayer(row, layer, first, rotation, &x); !status.ok()) {
      return status;
    }
  }
  logits_.narrow(0, row, 1).copy_(model_.Logits(x.narrow(0, x.size(0) - 1, 1)));
  tokens_.narrow(0, row, 1).copy_(logits_.narrow(0, row, 1).argmax(1));
  return absl::OkStatus();
}

absl::Status TensorDecoder::PrefillLayer(int64_t row, int layer, int64_t first_birth,
                                         const TensorModel::Rotation& rotation, at::Tensor* x) {
  const TensorModel::Projected projected = model_.Qkv(layer, *x, rotation);
  const int64_t rows = x->size(0);
  const int64_t kv_heads = projected.k.size(1);
  LayerEntries all{.k = projected.k.transpose(0, 1), .v = projected.v.transpose(0, 1)};
  const int64_t held = cache_.entries(row, layer);
  const at::TensorOptions ints = all.k.options().dtype(at::kInt);
  if (folds_) {
    all.score = at::zeros({kv_heads, rows}, ints.dtype(at::kFloat));
    all.birth = at::arange(first_birth, first_birth + rows, ints).expand({kv_heads, rows});
    all.mass = at::ones({kv_heads, rows}, ints);
  }
  if (held > 0) {
    const LayerEntries old = cache_.Held(row, layer);
    all.k = at::cat({old.k, all.k}, 1);
    all.v = at::cat({old.v, all.v}, 1);
    if (folds_) {
      all.score = at::cat({old.score, all.score}, 1);
      all.birth = at::cat({old.birth, all.birth}, 1);
      all.mass = at::cat({old.mass, all.mass}, 1);
    }
  }
  const at::Tensor attention = Attend(projected, &all, held);
  if (absl::Status status = cache_.Fold(row, layer, all); !status.ok()) return status;
  // Of the last layer only the last row's output is used.
  const bool last = layer + 1 == model_.config().layers;
  const int64_t from = last ? rows - 1 : 0;
  *x = model_.AfterAttention(layer, x->narrow(0, from, rows - from),
                             attention.narrow(0, from, rows - from));
  return absl::OkStatus();
}

// [rows, heads * head_dim]; adds the column sums to all->score.
at::Tensor TensorDecoder::Attend(const TensorModel::Projected& projected, LayerEntries* all,
                                 int64_t held) {
  const LanguageConfig& config = model_.config();
  const int64_t rows = projected.q.size(0);
  const auto scale = static_cast<double>(config.attention_scale());
  const at::Tensor q =
      projected.q.view({rows, config.kv_heads, config.heads / config.kv_heads, config.head_dim})
          .permute({1, 2, 0, 3});
  Attended attended = FlashAttention(q, all->k.narrow(1, held, rows), all->v.narrow(1, held, rows),
                                     scale, /*causal=*/true);
  if (held > 0) {
    attended =
        JoinAttention(attended, FlashAttention(q, all->k.narrow(1, 0, held),
                                               all->v.narrow(1, 0, held), scale, /*causal=*/false));
  }
  if (scores_) {
    all->score = all->score + kernels_.column_sums({.q = q,
                                                    .k = all->k,
                                                    .log_sum_exp = attended.log_sum_exp,
                                                    .first_key = held,
                                                    .scale = scale});
  }
  return attended.out.permute({2, 0, 1, 3}).reshape({rows, config.q_width()});
}

absl::Status TensorDecoder::Decode(std::span<const int32_t> ids) {
  if (!ids.empty() && ids.size() != static_cast<size_t>(rows_)) {
    return absl::InvalidArgumentError(absl::StrCat(ids.size(), " tokens for ", rows_, " rows"));
  }
  if (absl::Status status = CheckIds(ids); !status.ok()) return status;
  for (int64_t row = 0; row < rows_; ++row) {
    if (cache_.open(row) && cache_.seen(row) >= model_.config().max_positions) {
      return absl::FailedPreconditionError(absl::StrCat("row ", row, " is at the context's end"));
    }
  }
  if (absl::Status status = cache_.PlanStep(); !status.ok()) return status;
  if (!ids.empty()) tokens_.copy_(ToDevice(ids));
  if (runner_ != nullptr) {
    runner_->Run(cache_.generation(), [this] { Step(); });
  } else {
    Step();
  }
  cache_.CommitStep();
  return absl::OkStatus();
}

// Device operations only, on tensors that stay where they are until the cache's generation changes.
void TensorDecoder::Step() {
  const StepPlan& plan = cache_.plan();
  const bool captured = runner_ != nullptr;
  const auto scale = static_cast<double>(model_.config().attention_scale());
  at::Tensor x = model_.Embed(tokens_);
  const TensorModel::Rotation rotation = model_.RotationOf(plan.positions());
  for (int index = 0; index < model_.config().layers; ++index) {
    PagedLayer& layer = cache_.layer(index);
    const TensorModel::Projected projected = model_.Qkv(index, x, rotation);
    AppendEntries(cache_.store(), projected.k, projected.v, plan.slots(index), plan.positions(),
                  &layer);
    const int64_t bound = captured ? layer.capacity(cache_.store()) : cache_.longest(index);
    const at::Tensor attention = kernels_.paged_attention({.q = projected.q,
                                                           .store = &cache_.store(),
                                                           .layer = &layer,
                                                           .lengths = plan.lengths(index),
                                                           .longest = bound,
                                                           .scale = scale});
    x = model_.AfterAttention(index, x, attention.view({rows_, model_.config().q_width()}));
    const int64_t rounds = captured ? plan.rounds() : cache_.rounds(index);
    if (folds_ && rounds > 0) {
      kernels_.evict({.store = &cache_.store(),
                      .layer = &layer,
                      .lengths = plan.lengths(index),
                      .ranges = plan.ranges(index),
                      .rounds = rounds});
    }
  }
  logits_.copy_(model_.Logits(x));
  tokens_.copy_(logits_.argmax(1));
}

}  // namespace concertina
