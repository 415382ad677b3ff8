#include "models/tensor/tensor_engine.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <exception>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/tensor/device_cache.h"
#include "models/tensor/tensor_model.h"

namespace concertina {
namespace {

at::ScalarType ScalarOf(TensorType type) {
  switch (type) {
    case TensorType::kF16:
      return at::kHalf;
    case TensorType::kBf16:
      return at::kBFloat16;
    case TensorType::kF32:
      break;
  }
  return at::kFloat;
}

at::TensorOptions OptionsOf(const TensorEngineOptions& options) {
  return at::TensorOptions(at::Device(options.device)).dtype(ScalarOf(options.type));
}

// Runs what calls LibTorch; its exceptions end here.
absl::Status Guarded(const std::function<absl::Status()>& body) {
  try {
    const c10::InferenceMode inference;
    return body();
  } catch (const c10::Error& error) {
    return absl::InternalError(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

absl::Status CheckOptions(const LanguageConfig& config, const TensorEngineOptions& options) {
  if (absl::Status status = CheckLanguageConfig(config); !status.ok()) return status;
  if (options.rows < 1 || options.pool_pages < 1 || options.entries_per_page < 1) {
    return absl::InvalidArgumentError("rows, pool pages and entries per page must be positive");
  }
  return absl::OkStatus();
}

template <typename T>
std::vector<T> ToVector(const at::Tensor& tensor) {
  const at::Tensor host = tensor.cpu().contiguous();
  const T* values = host.const_data_ptr<T>();
  return {values, values + host.numel()};
}

}  // namespace

class TensorEngine::State {
 public:
  State(const LanguageConfig& config, TensorWeights weights, const TensorEngineOptions& options)
      : model_(config, std::move(weights)),
        kernels_(KernelsFor(model_.options().device())),
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

  absl::Status SetPolicy(const std::string& name, const PolicyOptions& options,
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

  using MakeWeights = std::function<absl::StatusOr<TensorWeights>(const at::TensorOptions&)>;
  static absl::StatusOr<std::unique_ptr<State>> Create(const LanguageConfig& config,
                                                       const TensorEngineOptions& options,
                                                       const MakeWeights& make_weights);

  // What Prefill refuses before it changes anything.
  absl::Status CheckPrompt(int64_t row, std::span<const int32_t> ids) const {
    const auto count = static_cast<int64_t>(ids.size());
    const int64_t first = cache_.seen(row);
    if (count < 1 || first + count > model_.config().max_positions) {
      return absl::InvalidArgumentError(absl::StrCat("a prompt of ", count, " tokens after ", first,
                                                     " of at most ",
                                                     model_.config().max_positions));
    }
    return CheckIds(ids);
  }
  absl::Status CheckIds(std::span<const int32_t> ids) const {
    for (const int32_t id : ids) {
      if (id < 0 || id >= model_.config().vocab) {
        return absl::InvalidArgumentError(absl::StrCat("token ", id, " is not in the vocabulary"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Prefill(int64_t row, std::span<const int32_t> ids);
  absl::Status Decode(std::span<const int32_t> ids);
  HeadEntries Contents(int64_t row, int64_t layer, int64_t head) const;

  const TensorModel& model() const { return model_; }
  DeviceCache& cache() { return cache_; }
  const at::Tensor& logits() const { return logits_; }
  int32_t rows() const { return rows_; }

 private:
  at::Tensor Ids(std::span<const int32_t> ids) const {
    std::vector<int32_t> copy(ids.begin(), ids.end());
    return at::from_blob(copy.data(), {static_cast<int64_t>(copy.size())},
                         at::TensorOptions().dtype(at::kInt))
        .to(at::kLong)
        .to(model_.options().device());
  }
  absl::Status PrefillLayer(int64_t row, int layer, int64_t first_birth,
                            const TensorModel::Rotation& rotation, at::Tensor* x);
  at::Tensor Attend(const TensorModel::Projected& projected, LayerEntries* all, int64_t held);
  void Step();

  TensorModel model_;
  const DeviceKernels& kernels_;
  DeviceCache cache_;
  std::unique_ptr<StepRunner> runner_;  // null: steps are run one operation after another
  at::Tensor tokens_;                   // i64 [rows]: the next step's
  at::Tensor logits_;                   // f32 [rows, vocab]
  int32_t rows_;
  bool scores_ = false, folds_ = false;
};

absl::StatusOr<std::unique_ptr<TensorEngine::State>> TensorEngine::State::Create(
    const LanguageConfig& config, const TensorEngineOptions& options,
    const MakeWeights& make_weights) {
  if (absl::Status status = CheckOptions(config, options); !status.ok()) return status;
  std::unique_ptr<State> state;
  absl::Status status = Guarded([&] {
    absl::StatusOr<TensorWeights> weights = make_weights(OptionsOf(options));
    if (!weights.ok()) return weights.status();
    state = std::make_unique<State>(config, *std::move(weights), options);
    return state->SetPolicy(options.policy, options.policy_options, options.budget);
  });
  if (!status.ok()) return status;
  return state;
}

absl::Status TensorEngine::State::Prefill(int64_t row, std::span<const int32_t> ids) {
  const auto count = static_cast<int64_t>(ids.size());
  const int64_t first = cache_.seen(row);
  cache_.BeginPrefill(row, count);
  at::Tensor x = model_.Embed(Ids(ids));
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

absl::Status TensorEngine::State::PrefillLayer(int64_t row, int layer, int64_t first_birth,
                                               const TensorModel::Rotation& rotation,
                                               at::Tensor* x) {
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
at::Tensor TensorEngine::State::Attend(const TensorModel::Projected& projected, LayerEntries* all,
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

absl::Status TensorEngine::State::Decode(std::span<const int32_t> ids) {
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
  if (!ids.empty()) tokens_.copy_(Ids(ids));
  if (runner_ != nullptr) {
    runner_->Run(cache_.generation(), [this] { Step(); });
  } else {
    Step();
  }
  cache_.CommitStep();
  return absl::OkStatus();
}

// Device operations only, on tensors that stay where they are until the cache's generation changes.
void TensorEngine::State::Step() {
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

TensorEngine::HeadEntries TensorEngine::State::Contents(int64_t row, int64_t layer,
                                                        int64_t head) const {
  const LayerEntries all = cache_.Contents(row, layer);
  HeadEntries entries{.k = ToVector<float>(all.k.select(0, head).to(at::kFloat)),
                      .v = ToVector<float>(all.v.select(0, head).to(at::kFloat))};
  if (!all.score.defined()) return entries;
  for (const int32_t birth : ToVector<int32_t>(all.birth.select(0, head))) {
    entries.births.push_back(static_cast<uint32_t>(birth));
  }
  entries.scores = ToVector<float>(all.score.select(0, head));
  entries.masses = ToVector<int32_t>(all.mass.select(0, head));
  return entries;
}

TensorEngine::TensorEngine(std::unique_ptr<State> state) : state_(std::move(state)) {}
TensorEngine::~TensorEngine() = default;

absl::StatusOr<std::unique_ptr<TensorEngine>> TensorEngine::Load(
    const LanguageConfig& config, const TensorSource& source, WeightNaming naming,
    const TensorEngineOptions& options) {
  auto state = State::Create(config, options, [&](const at::TensorOptions& kind) {
    return LoadTensorWeights(config, source, naming, kind);
  });
  if (!state.ok()) return state.status();
  return std::unique_ptr<TensorEngine>(new TensorEngine(*std::move(state)));
}

absl::StatusOr<std::unique_ptr<TensorEngine>> TensorEngine::Random(
    const LanguageConfig& config, uint64_t seed, const TensorEngineOptions& options) {
  auto state = State::Create(config, options, [&](const at::TensorOptions& kind) {
    return RandomTensorWeights(config, seed, kind);
  });
  if (!state.ok()) return state.status();
  return std::unique_ptr<TensorEngine>(new TensorEngine(*std::move(state)));
}

const LanguageConfig& TensorEngine::config() const { return state_->model().config(); }

absl::Status TensorEngine::SetPolicy(const std::string& name, const PolicyOptions& options,
                                     const Budget& budget) {
  return Guarded([&] { return state_->SetPolicy(name, options, budget); });
}

absl::Status TensorEngine::Prefill(int32_t row, std::span<const int32_t> ids) {
  if (row < 0 || row >= state_->rows()) {
    return absl::InvalidArgumentError(absl::StrCat("row ", row, " of ", state_->rows()));
  }
  absl::Status status = state_->CheckPrompt(row, ids);
  if (!status.ok()) return status;
  status = Guarded([&] { return state_->Prefill(row, ids); });
  if (!status.ok()) Close(row);
  return status;
}

absl::Status TensorEngine::Decode(std::span<const int32_t> ids) {
  return Guarded([&] { return state_->Decode(ids); });
}

absl::StatusOr<std::vector<float>> TensorEngine::Logits() const {
  std::vector<float> logits;
  absl::Status status = Guarded([&] {
    logits = ToVector<float>(state_->logits());
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return logits;
}

void TensorEngine::Close(int32_t row) { state_->cache().Close(row); }

absl::Status TensorEngine::Synchronize() const {
  return Guarded([&] {
    state_->logits().narrow(1, 0, 1).cpu();  // a copy to the host waits for what came before it
    return absl::OkStatus();
  });
}

int32_t TensorEngine::entries(int32_t row, int32_t layer) const {
  return state_->cache().entries(row, layer);
}
int64_t TensorEngine::seen(int32_t row) const { return state_->cache().seen(row); }
int64_t TensorEngine::weight_bytes() const { return state_->model().weight_bytes(); }
int64_t TensorEngine::used_bytes() const { return state_->cache().used_bytes(); }
int64_t TensorEngine::metadata_bytes() const { return state_->cache().metadata_bytes(); }

absl::StatusOr<TensorEngine::HeadEntries> TensorEngine::Contents(int32_t row, int32_t layer,
                                                                 int32_t head) const {
  HeadEntries entries;
  absl::Status status = Guarded([&] {
    entries = state_->Contents(row, layer, head);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return entries;
}

}  // namespace concertina
