#include "models/packing/stacked_matrix.h"

#include <algorithm>
#include <optional>

#include "models/kernels/block_matrix.h"
#include "models/weights/blocks.h"

namespace concertina {
namespace {

// Calls read(first tensor row, end tensor row, offset in rows from the first one) for the tensor
// rows that hold rows [begin, end) of a part. llama.cpp's row 2i + j of a head is row j * d/2 + i
// here.
template <typename Read>
absl::Status ReadPart(const MatrixPart& part, int64_t begin, int64_t end, Read read) {
  // A convolution's filter is one row of the matrix and several of the tensor.
  const int64_t unit = part.tensor->rows() / part.rows;
  const int64_t d = part.interleaved_head_dim;
  if (d == 0) return read(begin * unit, end * unit, 0);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t in_head = row % d;
    const int64_t stored = row - in_head + 2 * (in_head % (d / 2)) + in_head / (d / 2);
    absl::Status status = read(stored * unit, (stored + 1) * unit, row - begin);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// Calls read(part, its first tensor row, end, row of the output) for rows [begin, end) of a stack.
template <typename Read>
absl::Status ReadParts(const StackedMatrix& stack, int64_t begin, int64_t end, Read read) {
  int64_t first = 0;  // of the part, in the stack
  for (const MatrixPart& part : stack.parts) {
    const int64_t part_begin = std::max<int64_t>(begin - first, 0);
    const int64_t part_end = std::min(end - first, part.rows);
    if (part_begin < part_end) {
      const int64_t to = first + part_begin - begin;
      absl::Status status =
          ReadPart(part, part_begin, part_end, [&](int64_t from, int64_t until, int64_t offset) {
            return read(*part.tensor, from, until, to + offset);
          });
      if (!status.ok()) return status;
    }
    first += part.rows;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<PackedMatrix>> PackStored(const StackedMatrix& stack,
                                                         const TensorSource& source,
                                                         const BlockFormat& format) {
  const int64_t blocks = stack.columns / kWeightBlock;
  return PackBlockMatrix(
      MatrixType::kStored, stack.rows, stack.columns, format,
      [&](int64_t begin, int64_t end, const BlockRows& out) {
        const auto read = [&](const TensorInfo& tensor, int64_t from, int64_t until, int64_t to) {
          return source.ReadBlocks(
              tensor, from, until, format,
              {.quants = out.quants + to * stack.columns,
               .scales = out.scales + to * blocks,
               .minima = out.minima == nullptr ? nullptr : out.minima + to * blocks});
        };
        return ReadParts(stack, begin, end, read);
      });
}

}  // namespace

absl::Status StackedMatrix::ReadRows(const TensorSource& source, int64_t begin, int64_t end,
                                     float* out) const {
  return ReadParts(*this, begin, end,
                   [&](const TensorInfo& tensor, int64_t from, int64_t until, int64_t to) {
                     return source.ReadRows(tensor, from, until, out + to * columns);
                   });
}

std::optional<BlockFormat> StackedMatrix::StoredFormat() const {
  std::optional<BlockFormat> format;
  for (const MatrixPart& part : parts) {
    const std::optional<BlockFormat> own = BlockFormatOf(part.tensor->dtype);
    if (!own || part.tensor->row_length() != columns) return std::nullopt;
    format = format ? CommonFormat(*format, *own) : *own;
  }
  return format;
}

absl::StatusOr<std::unique_ptr<PackedMatrix>> StackedMatrix::Pack(const TensorSource& source,
                                                                  const MatrixPlan& plan) const {
  const auto read = [&](int64_t begin, int64_t end, float* out) {
    return ReadRows(source, begin, end, out);
  };
  const auto pack = [&](MatrixType type) {
    const std::optional<BlockFormat> format =
        type == MatrixType::kStored ? StoredFormat() : std::nullopt;
    return format ? PackStored(*this, source, *format)
                  : PackedMatrix::Pack(type, rows, columns, read);
  };
  absl::StatusOr<std::unique_ptr<PackedMatrix>> packed = PackPlanned(plan, pack);
  for (const MatrixPart& part : parts) source.Release(*part.tensor);
  return packed;
}

}  // namespace concertina
