#include "models/bundle/weight_copies.h"

#include <algorithm>

#include "cache/entry_layout.h"
#include "models/tuning/weight_types.h"

namespace concertina {
namespace {

WeightCopy MakeCopy(const Model& model, WeightCopy::Role role, MatrixType type, int64_t bytes,
                    int64_t parameters) {
  WeightCopy copy{.role = role, .type = type, .bytes = bytes, .parameters = parameters};
  for (const TypeRates& rates : model.weights.rates) {
    if (rates.type != type) continue;
    copy.read_bytes_per_second = rates.read_bytes_per_second;
    copy.operations_per_second = rates.operations_per_second;
  }
  copy.rows_from = role == WeightCopy::Role::kPrefill ? model.weights.language.many_from : 1;
  return copy;
}

int64_t LanguageParameters(const Model& model) {
  return model.device ? model.device->matrix_parameters() : model.language->matrix_parameters();
}

}  // namespace

const char* RoleName(WeightCopy::Role role) {
  switch (role) {
    case WeightCopy::Role::kAll:
      return "all";
    case WeightCopy::Role::kDecode:
      return "decode";
    case WeightCopy::Role::kPrefill:
      return "prefill";
    case WeightCopy::Role::kVision:
      break;
  }
  return "vision";
}

std::vector<WeightCopy> ListCopies(const Model& model) {
  using Role = WeightCopy::Role;
  const MatrixPlan& plan = model.weights.language;
  const int64_t parameters = LanguageParameters(model);
  const CopyBytes bytes =
      model.device ? CopyBytes{.few = parameters * ElementBytes(model.device->entry_type())}
                   : model.language->matrix_bytes();
  std::vector<WeightCopy> copies;
  if (plan.paired()) {
    copies.push_back(MakeCopy(model, Role::kDecode, plan.few, bytes.few, parameters));
    copies.push_back(MakeCopy(model, Role::kPrefill, plan.many, bytes.many, parameters));
  } else {
    copies.push_back(MakeCopy(model, Role::kAll, plan.few, bytes.few, parameters));
  }
  if (model.vision != nullptr) {
    copies.push_back(MakeCopy(model, Role::kVision, model.weights.vision,
                              model.vision->weight_bytes(), model.vision->matrix_parameters()));
  }
  return copies;
}

int64_t ParametersOf(const Model& model) {
  const int64_t vision = model.vision == nullptr ? 0 : model.vision->matrix_parameters();
  return LanguageParameters(model) + vision;
}

bool IsDeterministic(const Model& model) {
  return !model.device && IsDeterministic(model.weights.language) &&
         (model.vision == nullptr || IsDeterministic(model.weights.vision));
}

}  // namespace concertina
