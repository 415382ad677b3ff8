#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "models/bundle/loaders.h"
#include "models/language/language_weights.h"
#include "models/tuning/weight_types.h"

namespace concertina {
namespace {

// One copy in a type that LibTorch computes in; nothing is measured for it.
absl::StatusOr<WeightSettings> ForDevice(WeightSettings settings, const std::string& device) {
  const MatrixType type = settings.few.value_or(MatrixType::kBf16);
  if (type != MatrixType::kF32 && type != MatrixType::kBf16) {
    return absl::InvalidArgumentError(absl::StrCat("weights on ", device, " are f32 or bf16, not ",
                                                   std::string(MatrixTypeName(type))));
  }
  if (settings.many.value_or(type) != type) {
    return absl::InvalidArgumentError(absl::StrCat("there is one copy of weights on ", device));
  }
  settings.few = settings.many = type;
  if (!settings.vision.has_value()) settings.vision = type;
  settings.measure_all = false;
  return settings;
}

}  // namespace

absl::Status DecideModelWeights(const ModelOptions& options, const LanguageSource& source,
                                Model* model) {
  const LanguageConfig& config = model->config;
  if (absl::Status status = CheckLanguageConfig(config); !status.ok()) return status;
  absl::StatusOr<WeightSettings> settings = options.weight_type;
  if (options.device != kHostDevice) settings = ForDevice(options.weight_type, options.device);
  if (!settings.ok()) return settings.status();
  absl::StatusOr<LanguageWeights> weights =
      FindLanguageWeights(*source.weights, source.naming, config);
  if (!weights.ok()) return weights.status();
  const LayerWeights& layer = weights->layers.front();
  const auto elements = [](const StackedMatrix& matrix) { return matrix.rows * matrix.columns; };
  const StackedMatrix* largest = &layer.qkv;
  for (const StackedMatrix* matrix : {&layer.out, &layer.gate_up, &layer.down}) {
    if (elements(*matrix) > elements(*largest)) largest = matrix;
  }
  const int64_t in_layer =
      elements(layer.qkv) + elements(layer.out) + elements(layer.gate_up) + elements(layer.down);
  absl::StatusOr<WeightDecision> decision =
      DecideWeights(*settings, {.n = largest->rows,
                                .k = largest->columns,
                                .stored = largest->StoredFormat(),
                                .model_parameters = config.layers * in_layer});
  if (!decision.ok()) return decision.status();
  model->weights = *std::move(decision);
  return absl::OkStatus();
}

absl::Status LoadLanguageParts(const ModelOptions& options, const LanguageSource& source,
                               const std::function<void(double)>& progress, Model* model) {
  if (options.device == kHostDevice) {
    auto language = LanguageModel::Load(model->config, source, model->weights.language, progress);
    if (language.ok()) model->language = *std::move(language);
    return language.status();
  }
  const bool exact = model->weights.language.few == MatrixType::kF32;
  auto device = DeviceModel::Load(model->config, source, options.device,
                                  exact ? TensorType::kF32 : TensorType::kBf16);
  if (device.ok()) model->device = *std::move(device);
  return device.status();
}

}  // namespace concertina
