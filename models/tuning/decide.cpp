#include "models/tuning/decide.h"

#include <thread>
#include <utility>

#include "models/tuning/choose.h"
#include "models/tuning/weight_types.h"

namespace concertina {
namespace {

// kStored is kInt8 where the file has no blocks.
void Settle(std::optional<MatrixType>& type, bool has_blocks) {
  if (type == MatrixType::kStored && !has_blocks) type = MatrixType::kInt8;
}

bool LanguageIsOpen(const WeightSettings& settings) {
  return !settings.few.has_value() || !settings.many.has_value();
}

// What must be measured to decide, or is to be shown.
std::vector<MatrixType> TypesToMeasure(const WeightSettings& settings) {
  const bool show = settings.measure_all || settings.few != settings.many;
  std::vector<MatrixType> types;
  for (const MatrixType type : kAllMatrixTypes) {
    const bool asked = type == settings.few || type == settings.many || type == settings.vision;
    const bool for_vision = !settings.vision.has_value() && AllowedForVision(type);
    if (LanguageIsOpen(settings) || for_vision || (asked && show)) types.push_back(type);
  }
  return types;
}

MatrixPlan LanguagePlan(const WeightSettings& settings, std::vector<TypeRates>& rates,
                        TypeMeasurement& measurement) {
  const auto choose = [&] {
    return LanguageIsOpen(settings) ? ChooseTypes(rates, {settings.few, settings.many})
                                    : ChosenTypes{*settings.few, *settings.many};
  };
  ChosenTypes chosen = choose();
  if (chosen.few == chosen.many) return chosen.few;
  // So much memory is not given for a type that only met a moment of noise.
  rates = measurement.Rates();
  chosen = choose();
  if (chosen.few == chosen.many) return chosen.few;
  return {chosen.few, chosen.many, measurement.Threshold(chosen.few, chosen.many)};
}

absl::StatusOr<WeightDecision> Decide(const WeightSettings& settings, const SampleMatrix& sample) {
  WeightDecision decision;
  const std::vector<MatrixType> types = TypesToMeasure(settings);
  if (types.empty()) {
    decision.language = *settings.few;
    decision.vision = *settings.vision;
    return decision;
  }
  absl::StatusOr<TypeMeasurement> measurement = TypeMeasurement::Make(sample, types);
  if (!measurement.ok()) return measurement.status();
  decision.rates = measurement->Rates();
  decision.language = LanguagePlan(settings, decision.rates, *measurement);
  decision.vision =
      settings.vision.has_value() ? *settings.vision : ChooseVisionType(decision.rates);
  return decision;
}

}  // namespace

WeightSettings WeightSettings::Auto() {
  WeightSettings settings;
  settings.few.reset();
  settings.many.reset();
  settings.vision.reset();
  return settings;
}

absl::StatusOr<WeightDecision> DecideWeights(WeightSettings settings, const SampleMatrix& sample) {
  Settle(settings.few, sample.stored.has_value());
  Settle(settings.many, sample.stored.has_value());
  Settle(settings.vision, /*has_blocks=*/false);  // safetensors
  for (const auto& type : {settings.few, settings.many, settings.vision}) {
    if (type == MatrixType::kBf16 && !Bf16MatrixSupported()) {
      return absl::FailedPreconditionError("this CPU or LibTorch has no bf16 matrix products");
    }
  }
  absl::StatusOr<WeightDecision> decision;
  // The scratch memory that the kernels keep for each calling thread goes with the thread.
  std::thread([&] { decision = Decide(settings, sample); }).join();
  return decision;
}

}  // namespace concertina
