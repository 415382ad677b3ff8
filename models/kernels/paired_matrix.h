#pragma once

#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "models/kernels/matrix.h"

namespace concertina {

// Which copies of a matrix are held, and which of them multiplies how many rows: a type that is
// small is fast for few rows, which wait for memory; another may be faster for many.
struct MatrixPlan {
  // One copy for any number of rows.
  MatrixPlan(MatrixType type) : few(type), many(type) {}  // NOLINT(google-explicit-constructor)
  // `rows` of x or more are multiplied by the copy `many`, fewer by `few`.
  MatrixPlan(MatrixType few_rows, MatrixType many_rows, int64_t rows)
      : few(few_rows), many(many_rows), many_from(rows) {}

  // Two copies: a row's result then depends on how many rows there are.
  bool paired() const { return few != many; }

  MatrixType few;
  MatrixType many;
  int64_t many_from = 0;
};

// Makes the copies `plan` asks for with `pack` (PackedMatrix::Pack for a type, errors as there) and
// holds two behind the interface of one; its type() is that of the copy for few rows. Types that
// come to the same for this matrix make one copy.
absl::StatusOr<std::unique_ptr<PackedMatrix>> PackPlanned(
    const MatrixPlan& plan,
    absl::FunctionRef<absl::StatusOr<std::unique_ptr<PackedMatrix>>(MatrixType)> pack);

// Memory of each copy; a single copy counts as `few`.
struct CopyBytes {
  int64_t few = 0;
  int64_t many = 0;
};
CopyBytes BytesOfCopies(const PackedMatrix& matrix);

}  // namespace concertina
