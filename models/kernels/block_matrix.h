#pragma once

#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/kernels/matrix.h"
#include "models/weights/blocks.h"

namespace concertina {

// Fills `out` with rows [row_begin, row_end) of a matrix [n, k].
using BlockReader =
    absl::FunctionRef<absl::Status(int64_t row_begin, int64_t row_end, const BlockRows& out)>;

// A PackedMatrix that keeps blocks of 4 or 8 bits and multiplies in integers: activations are
// rounded to signed bytes, with one scale for 32 of them (ggml's Q8 scheme), products of bytes are
// summed exactly, and blocks are added in f32 in ascending order. Deterministic like kF32.
// `type` is what PackedMatrix::type() answers. REQUIRES: k is a multiple of 32, format.bits is 4
// or 8. The reader's errors; RESOURCE_EXHAUSTED when memory is refused.
absl::StatusOr<std::unique_ptr<PackedMatrix>> PackBlockMatrix(MatrixType type, int64_t n, int64_t k,
                                                              const BlockFormat& format,
                                                              BlockReader read_rows);

// The same from f32 rows, which are rounded to 8 bits with a scale of max|w| / 127 per block.
absl::StatusOr<std::unique_ptr<PackedMatrix>> PackInt8Matrix(int64_t n, int64_t k,
                                                             PackedMatrix::RowReader read_rows);

}  // namespace concertina
