#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "models/language/language_model.h"
#include "models/packing/packing_queue.h"

namespace concertina {

// Fills a model from a file.
class LanguageModel::Loader {
 public:
  Loader(LanguageModel* model, const LanguageSource& source, const LanguageWeights& weights)
      : model_(*model), source_(source), weights_(weights) {}

  absl::Status Run(const std::function<void(double)>& progress) {
    if (absl::Status status = LoadNorms(); !status.ok()) return status;
    model_.embedding_ = weights_.embedding;
    // The largest first: it must not be left for one thread at the end.
    AddMatrix(weights_.head, &model_.head_);
    for (size_t i = 0; i < weights_.layers.size(); ++i) {
      const LayerWeights& from = weights_.layers[i];
      Layer& to = model_.layers_[i];
      AddMatrix(from.qkv, &to.qkv);
      AddMatrix(from.out, &to.out);
      AddMatrix(from.gate_up, &to.gate_up);
      AddMatrix(from.down, &to.down);
      if (source_.adapter != nullptr) AddAdapter(i, &to);
    }
    return queue_.Run(progress);
  }

 private:
  absl::Status LoadNorms() {
    absl::Status result;
    const auto load = [&](const std::string& name, std::vector<float>* to) {
      absl::StatusOr<std::vector<float>> norm =
          ReadAll(*source_.weights, name, {model_.config_.hidden});
      result.Update(norm.status());
      if (norm.ok()) *to = *std::move(norm);
    };
    for (size_t i = 0; i < weights_.layers.size(); ++i) {
      load(weights_.layers[i].attention_norm, &model_.layers_[i].attention_norm);
      load(weights_.layers[i].mlp_norm, &model_.layers_[i].mlp_norm);
    }
    load(weights_.final_norm, &model_.final_norm_);
    return result;
  }

  void AddMatrix(const StackedMatrix& from, std::unique_ptr<PackedMatrix>* to) {
    queue_.Add(from.rows * from.columns, [this, &from, to]() -> absl::Status {
      absl::StatusOr<std::unique_ptr<PackedMatrix>> packed =
          from.Pack(*source_.weights, model_.plan_);
      if (!packed.ok()) return packed.status();
      *to = *std::move(packed);
      return absl::OkStatus();
    });
  }

  void AddAdapter(size_t layer, Layer* to) {
    const LanguageConfig& config = model_.config_;
    const std::string prefix = absl::StrCat("language_model.model.layers.", layer, ".self_attn.");
    std::vector<LowRankAdapter::Part> qkv{{prefix + "q_proj", config.q_width()},
                                          {prefix + "k_proj", config.kv_width()},
                                          {prefix + "v_proj", config.kv_width()}};
    std::vector<LowRankAdapter::Part> out{{prefix + "o_proj", config.hidden}};
    AddAdapterStack(config.hidden, std::move(qkv), &to->qkv_adapter);
    AddAdapterStack(config.q_width(), std::move(out), &to->out_adapter);
  }

  void AddAdapterStack(int64_t in, std::vector<LowRankAdapter::Part> parts, LowRankAdapter* to) {
    constexpr int64_t kTypicalRank = 16;
    queue_.Add(in * kTypicalRank, [this, in, to, parts = std::move(parts)]() -> absl::Status {
      absl::StatusOr<LowRankAdapter> adapter =
          LowRankAdapter::Load(*source_.adapter, AdapterType(), in, parts);
      if (!adapter.ok()) return adapter.status();
      *to = *std::move(adapter);
      return absl::OkStatus();
    });
  }

  // An adapter's share is small beside the matrix it corrects, in time and in memory: it is not
  // rounded to 8 bits.
  MatrixType AdapterType() const {
    return model_.plan_.few == MatrixType::kBf16 ? MatrixType::kBf16 : MatrixType::kF32;
  }

  LanguageModel& model_;
  const LanguageSource& source_;
  const LanguageWeights& weights_;
  PackingQueue queue_;
};

absl::StatusOr<std::unique_ptr<LanguageModel>> LanguageModel::Load(
    const LanguageConfig& config, const LanguageSource& source, const MatrixPlan& plan,
    const std::function<void(double)>& progress) {
  if (absl::Status status = CheckLanguageConfig(config); !status.ok()) return status;
  absl::StatusOr<LanguageWeights> weights =
      FindLanguageWeights(*source.weights, source.naming, config);
  if (!weights.ok()) return weights.status();
  std::unique_ptr<LanguageModel> model(new LanguageModel(config, plan, source.weights));
  if (absl::Status status = Loader(model.get(), source, *weights).Run(progress); !status.ok()) {
    return status;
  }
  return model;
}

}  // namespace concertina
