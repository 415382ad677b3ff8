#include "models/tuning/weight_types.h"

#include "absl/strings/str_cat.h"

namespace concertina {

std::optional<MatrixType> MatrixTypeByName(std::string_view name) {
  for (const MatrixType type : kAllMatrixTypes) {
    if (name == MatrixTypeName(type)) return type;
  }
  return std::nullopt;
}

std::string PlanName(const MatrixPlan& plan) {
  std::string name(MatrixTypeName(plan.few));
  if (plan.paired()) absl::StrAppend(&name, "+", std::string(MatrixTypeName(plan.many)));
  return name;
}

bool IsDeterministic(const MatrixPlan& plan) { return !plan.paired() && IsDeterministic(plan.few); }

double PerplexityCost(MatrixType type) {
  switch (type) {
    case MatrixType::kF32:
      return 0;
    case MatrixType::kBf16:
      return 0.0004;
    case MatrixType::kInt8:
      return 0.0054;
    case MatrixType::kStored:
      break;
  }
  return 0.0021;
}

}  // namespace concertina
