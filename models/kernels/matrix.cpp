#include "models/kernels/matrix.h"

#include <limits>
#include <new>

#include "absl/strings/str_cat.h"
#include "models/kernels/block_matrix.h"
#include "models/kernels/matrix_internal.h"

namespace concertina {

absl::StatusOr<std::unique_ptr<PackedMatrix>> PackedMatrix::Pack(MatrixType type, int64_t n,
                                                                 int64_t k, RowReader read_rows) {
  constexpr int64_t kMaxSide = std::numeric_limits<int32_t>::max();
  constexpr int64_t kMaxElements = int64_t{1} << 38;
  if (n < 1 || k < 1 || n > kMaxSide || k > kMaxSide || n > kMaxElements / k) {
    return absl::InvalidArgumentError(absl::StrCat("matrix size ", n, " x ", k));
  }
  try {
    if (type == MatrixType::kBf16) return PackBf16Matrix(n, k, read_rows);
    if (type == MatrixType::kF32 || k % kWeightBlock != 0) return PackF32Matrix(n, k, read_rows);
    return PackInt8Matrix(n, k, read_rows);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for matrix ", n, " x ", k));
  }
}

std::string_view MatrixTypeName(MatrixType type) {
  constexpr std::string_view kNames[] = {"f32", "bf16", "int8", "stored"};
  return kNames[static_cast<size_t>(type)];
}

}  // namespace concertina
