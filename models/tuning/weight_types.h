#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "models/kernels/matrix.h"
#include "models/kernels/paired_matrix.h"

namespace concertina {

// In the order in which they are measured: LibTorch's threads, which kBf16 uses, go on spinning.
inline constexpr std::array kAllMatrixTypes{MatrixType::kF32, MatrixType::kInt8,
                                            MatrixType::kStored, MatrixType::kBf16};

// The inverse of MatrixTypeName().
std::optional<MatrixType> MatrixTypeByName(std::string_view name);

// "stored", or "stored+bf16" for two copies: few rows, then many.
std::string PlanName(const MatrixPlan& plan);

// Whether a row's result is the same whatever the other rows, the slices and the threads. That of
// two copies is not: the number of rows decides which of them multiplies.
bool IsDeterministic(const MatrixPlan& plan);

// Perplexity over that of f32, minus one: measured on the bundled model (docs/benchmarks.md).
double PerplexityCost(MatrixType type);

}  // namespace concertina
