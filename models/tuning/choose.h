#pragma once

#include <optional>
#include <span>

#include "models/kernels/matrix.h"
#include "models/tuning/measure.h"

namespace concertina {

// Which types are wanted for few and for many rows; empty: the better one.
struct WantedTypes {
  std::optional<MatrixType> few;
  std::optional<MatrixType> many;
};

struct ChosenTypes {
  MatrixType few;
  MatrixType many;  // another than `few`: two copies
};

// All copies together, unless the types are wanted.
inline constexpr double kBytesPerParameterMax = 3.0;
// What a second copy must gain.
inline constexpr double kPairGain = 1.15;
// Rates closer than this are equal: measurements of a few milliseconds are not better.
inline constexpr double kTieMargin = 1.05;
// Perplexity over that of f32, minus one, that a type may cost to be chosen unasked.
inline constexpr double kPerplexityCostMax = 0.005;

// The fastest plan by `rates`: few rows count by the geometric mean of 1 and 16 rows, many by 256,
// both alike. One copy, and of equals the deterministic one, then the smaller one; two when they
// make few or many rows at least kPairGain times as fast as the best single copy and the other no
// slower. Pure function. REQUIRES: `rates` has the wanted types, and at least one.
ChosenTypes ChooseTypes(std::span<const TypeRates> rates, const WantedTypes& wanted);

// The fastest type for the many rows of a picture among those a vision tower may have; one that is
// not deterministic must be kPairGain times as fast as the others. REQUIRES: `rates` has at least
// one of them.
MatrixType ChooseVisionType(std::span<const TypeRates> rates);

// Whether a vision tower may be held so: its files have no blocks, and in 8 bits the bundled one
// gives the same answers (tests/models/bundle/bundled_model_test.cpp).
bool AllowedForVision(MatrixType type);

}  // namespace concertina
