#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "models/kernels/matrix.h"

namespace concertina {

// The two kinds of PackedMatrix; sizes are already checked. May throw std::bad_alloc.
absl::StatusOr<std::unique_ptr<PackedMatrix>> PackF32Matrix(int64_t n, int64_t k,
                                                            PackedMatrix::RowReader read_rows);
absl::StatusOr<std::unique_ptr<PackedMatrix>> PackBf16Matrix(int64_t n, int64_t k,
                                                             PackedMatrix::RowReader read_rows);

}  // namespace concertina
