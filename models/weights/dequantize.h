#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "models/weights/tensor_source.h"

namespace concertina {

// A row is stored as consecutive blocks of `elements` values in `bytes` bytes; the plain float
// types have blocks of one.
struct BlockLayout {
  int64_t elements;
  int64_t bytes;
};

// nullopt for kOther.
std::optional<BlockLayout> LayoutOf(DType dtype);

// "Q4_1", for messages.
std::string_view DTypeName(DType dtype);

// Stored size of a tensor. nullopt for kOther, when a row is not a whole number of blocks, or when
// the size overflows.
std::optional<uint64_t> CheckedBytes(DType dtype, const std::vector<int64_t>& shape);

// Converts `elements` stored values (whole blocks, little-endian, any alignment) to f32. Exact for
// F32, F16 and BF16; for the block formats q * d (+ m) in f32 as ggml's dequantize_row_* computes
// it. REQUIRES: dtype is not kOther. Pure function.
void Dequantize(DType dtype, const uint8_t* in, int64_t elements, float* out);

}  // namespace concertina
