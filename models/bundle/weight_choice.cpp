#include <algorithm>

#include "models/bundle/loaders.h"
#include "models/language/language_weights.h"

namespace concertina {

absl::StatusOr<WeightDecision> DecideModelWeights(const LanguageConfig& config,
                                                  const TensorSource& source, WeightNaming naming,
                                                  const WeightSettings& settings) {
  if (absl::Status status = CheckLanguageConfig(config); !status.ok()) return status;
  absl::StatusOr<LanguageWeights> weights = FindLanguageWeights(source, naming, config);
  if (!weights.ok()) return weights.status();
  const LayerWeights& layer = weights->layers.front();
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

}  // namespace concertina
