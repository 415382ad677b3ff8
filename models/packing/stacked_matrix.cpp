#include "models/packing/stacked_matrix.h"

#include <algorithm>

namespace concertina {
namespace {

// Reads rows [begin, end) of one part. llama.cpp's row 2i + j of a head is row j * d/2 + i here.
absl::Status ReadPart(const TensorSource& source, const MatrixPart& part, int64_t columns,
                      int64_t begin, int64_t end, float* out) {
  // A convolution's filter is one row of the matrix and several of the tensor.
  const int64_t unit = part.tensor->rows() / part.rows;
  const int64_t d = part.interleaved_head_dim;
  if (d == 0) return source.ReadRows(*part.tensor, begin * unit, end * unit, out);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t in_head = row % d;
    const int64_t stored = row - in_head + 2 * (in_head % (d / 2)) + in_head / (d / 2);
    absl::Status status = source.ReadRows(*part.tensor, stored * unit, (stored + 1) * unit, out);
    if (!status.ok()) return status;
    out += columns;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status StackedMatrix::ReadRows(const TensorSource& source, int64_t begin, int64_t end,
                                     float* out) const {
  int64_t first = 0;  // of the part, in the stack
  for (const MatrixPart& part : parts) {
    const int64_t part_begin = std::max<int64_t>(begin - first, 0);
    const int64_t part_end = std::min(end - first, part.rows);
    if (part_begin < part_end) {
      float* to = out + (first + part_begin - begin) * columns;
      absl::Status status = ReadPart(source, part, columns, part_begin, part_end, to);
      if (!status.ok()) return status;
    }
    first += part.rows;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<PackedMatrix>> StackedMatrix::Pack(const TensorSource& source,
                                                                  MatrixType type) const {
  absl::StatusOr<std::unique_ptr<PackedMatrix>> packed = PackedMatrix::Pack(
      type, rows, columns,
      [&](int64_t begin, int64_t end, float* out) { return ReadRows(source, begin, end, out); });
  for (const MatrixPart& part : parts) source.Release(*part.tensor);
  return packed;
}

}  // namespace concertina
