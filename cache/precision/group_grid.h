#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "cache/precision/code_tile.h"
#include "cache/precision/small_scale.h"

// The grids that elements of a group are rounded to (packed_group.h). What includes this is
// compiled so that no step is fused with the next.

namespace concertina {

inline constexpr float kFarthestZero = 127.0F;
// Adding 2^23 rounds to the nearest integer and leaves it in the low bits.
inline constexpr float kRoundingMagic = 8388608.0F;

// Elements scale x (code + zero / 2): scale as in small_scale.h.
struct Grid {
  uint8_t scale;
  int8_t zero;
};

// The grid for elements between low and high: it begins within a quarter of a scale from `low`,
// and its scale is large enough for the zero to fit.
inline Grid GridFor(float low, float high, int levels) {
  const float farther = std::max(std::fabs(low), std::fabs(high));
  if (!(farther <= std::numeric_limits<float>::max())) return {0, 0};
  const float range = high * 0.5F - low * 0.5F;  // halved: it could overflow
  const float needed = std::max(range / (0.5F * static_cast<float>(levels)),
                                std::fabs(low) / (0.5F * kFarthestZero));
  const uint8_t scale = ToSmallScale(needed);
  const float zero = std::nearbyint(2.0F * (low / FromSmallScale(scale)));
  return {scale, static_cast<int8_t>(std::clamp(zero, -kFarthestZero, kFarthestZero))};
}

// A row's codes. Everything is one rounding after another in f32, in the order written.
inline void RowCodes(const float* x, const float* inverse, const float* offset, int64_t count,
                     int levels, uint8_t* codes) {
  const auto most = static_cast<float>(levels);
  for (int64_t i = 0; i < count; ++i) {
    float code = x[i] * inverse[i] - offset[i];
    code = code > 0.0F ? code : 0.0F;  // NaN as well
    code = code < most ? code : most;
    codes[i] = static_cast<uint8_t>(std::bit_cast<uint32_t>(code + kRoundingMagic));
  }
}

// Codes of at most kTileDepth elements that have one grid.
inline void GridCodes(const float* x, Grid grid, int64_t count, int levels, uint8_t* codes) {
  float inverse[kTileDepth];
  float offset[kTileDepth];
  std::fill_n(inverse, kTileDepth, 1.0F / FromSmallScale(grid.scale));
  std::fill_n(offset, kTileDepth, 0.5F * static_cast<float>(grid.zero));
  RowCodes(x, inverse, offset, count, levels, codes);
}

inline float Element(uint8_t code, float scale, int8_t zero) {
  return scale * (0.5F * static_cast<float>(2 * code + zero));
}

inline int Levels(int bits) { return (1 << bits) - 1; }

inline int8_t Zero(const uint8_t* zeros, int64_t i) { return static_cast<int8_t>(zeros[i]); }

}  // namespace concertina
