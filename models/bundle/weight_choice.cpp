#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "models/bundle/loaders.h"
#include "models/kernels/matrix.h"
#include "models/language/language_weights.h"
#include "models/tuning/weight_types.h"

namespace concertina {
namespace {

// The type of the language model on another device: one that LibTorch computes in. Nothing is
// measured for it.
absl::StatusOr<MatrixType> TypeOnDevice(const ModelOptions& options) {
  const WeightSettings& settings = options.weight_type;
  const MatrixType type = settings.few.value_or(MatrixType::kBf16);
  if (type != MatrixType::kF32 && type != MatrixType::kBf16) {
    return absl::InvalidArgumentError(absl::StrCat("weights on ", options.device,
                                                   " are f32 or bf16, not ",
                                                   std::string(MatrixTypeName(type))));
  }
  if (settings.many.value_or(type) != type) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is one copy of weights on ", options.device));
  }
  return type;
}

// The vision tower stays on a CPU that may not have the type.
WeightSettings ForVisionOnly(const WeightSettings& settings, MatrixType language) {
  const bool lacking = language == MatrixType::kBf16 && !Bf16MatrixSupported();
  return settings.vision.value_or(lacking ? MatrixType::kF32 : language);
}

absl::StatusOr<WeightDecision> Decide(const WeightSettings& settings, const LanguageConfig& config,
                                      const LayerWeights& layer) {
  const auto elements = [](const StackedMatrix& matrix) { return matrix.rows * matrix.columns; };
  const StackedMatrix* largest = &layer.qkv;
  for (const StackedMatrix* matrix : {&layer.out, &layer.gate_up, &layer.down}) {
    if (elements(*matrix) > elements(*largest)) largest = matrix;
  }
  const int64_t in_layer =
      elements(layer.qkv) + elements(layer.out) + elements(layer.gate_up) + elements(layer.down);
  return DecideWeights(settings, {.n = largest->rows,
                                  .k = largest->columns,
                                  .stored = largest->StoredFormat(),
                                  .model_parameters = config.layers * in_layer});
}

}  // namespace

absl::Status DecideModelWeights(const ModelOptions& options, const LanguageSource& source,
                                Model* model) {
  const LanguageConfig& config = model->config;
  if (absl::Status status = CheckLanguageConfig(config); !status.ok()) return status;
  absl::StatusOr<LanguageWeights> weights =
      FindLanguageWeights(*source.weights, source.naming, config);
  if (!weights.ok()) return weights.status();
  WeightSettings settings = options.weight_type;
  std::optional<MatrixType> on_device;
  if (options.device != kHostDevice) {
    const absl::StatusOr<MatrixType> type = TypeOnDevice(options);
    if (!type.ok()) return type.status();
    on_device = *type;
    settings = ForVisionOnly(settings, *type);
  }
  absl::StatusOr<WeightDecision> decision = Decide(settings, config, weights->layers.front());
  if (!decision.ok()) return decision.status();
  model->weights = *std::move(decision);
  if (on_device.has_value()) model->weights.language = *on_device;
  return absl::OkStatus();
}

absl::Status LoadLanguageParts(const ModelOptions& options, const LanguageSource& source,
                               const std::function<void(double)>& progress, Model* model) {
  if (options.device == kHostDevice) {
    auto language = LanguageModel::Load(model->config, source, model->weights.language, progress);
    if (!language.ok()) return language.status();
    model->language = *std::move(language);
    return absl::OkStatus();
  }
  const bool exact = model->weights.language.few == MatrixType::kF32;
  auto device = DeviceModel::Load(model->config, source, options.device,
                                  exact ? TensorType::kF32 : TensorType::kBf16);
  if (!device.ok()) return device.status();
  model->device = *std::move(device);
  return absl::OkStatus();
}

}  // namespace concertina
