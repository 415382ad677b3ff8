#pragma once

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "models/kernels/matrix.h"
#include "models/kernels/paired_matrix.h"
#include "models/tuning/measure.h"

namespace concertina {

// Which types an operator asks for; empty: whatever is best on this machine.
struct WeightSettings {
  // The same type for everything.
  WeightSettings(MatrixType type = MatrixType::kF32)  // NOLINT(google-explicit-constructor)
      : few(type), many(type), vision(type) {}
  static WeightSettings Auto();

  std::optional<MatrixType> few;   // the language model's, for few rows: answers
  std::optional<MatrixType> many;  // the language model's, for many rows: prompts
  std::optional<MatrixType> vision;
  bool measure_all = false;  // also what is not needed to decide, to be shown
};

// Which types a model is held in, and why.
struct WeightDecision {
  MatrixPlan language = MatrixType::kF32;
  MatrixType vision = MatrixType::kF32;
  std::vector<TypeRates> rates;  // of every type that was measured
};

// Decides for a model whose language matrices look like `sample`, measuring what is needed. Runs
// on threads of its own, before the model is packed. FAILED_PRECONDITION: a type was asked for that
// this CPU does not have; RESOURCE_EXHAUSTED.
absl::StatusOr<WeightDecision> DecideWeights(WeightSettings settings, const SampleMatrix& sample);

}  // namespace concertina
