#pragma once

#include <cstdint>
#include <optional>

#include "models/weights/tensor_source.h"

namespace concertina {

// Consecutive elements of a row that share a scale, in every block format that is read.
inline constexpr int64_t kWeightBlock = 32;

// Weights as blocks: element = scale * quant + minimum, with unsigned quants.
struct BlockFormat {
  int bits = 8;         // of a quant: 4 or 8
  bool minima = false;  // blocks have minima of their own; else -centre * scale
  float centre = 128.0F;

  bool operator==(const BlockFormat&) const = default;
};

// Room for rows of a matrix with k columns. f16 as its bits.
struct BlockRows {
  uint8_t* quants = nullptr;   // [rows, k], one per byte
  uint16_t* scales = nullptr;  // [rows, k / 32], f16
  uint16_t* minima = nullptr;  // [rows, k / 32], f16; null: the format has none
};

// The narrowest format that holds a stored type without loss. nullopt for types without blocks.
std::optional<BlockFormat> BlockFormatOf(DType dtype);

// The narrowest format that holds both without loss.
BlockFormat CommonFormat(const BlockFormat& a, const BlockFormat& b);

// Takes `elements` stored values (whole blocks) apart into `format`, which must hold the type.
// Exact, but for minima beyond the range of f16, which become infinite. Pure function.
void SplitBlocks(DType dtype, const uint8_t* in, int64_t elements, const BlockFormat& format,
                 const BlockRows& out);

}  // namespace concertina
