#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/kernels/matrix.h"
#include "models/kernels/paired_matrix.h"
#include "models/weights/blocks.h"
#include "models/weights/tensor_source.h"

namespace concertina {

// One matrix of a file as rows [rows, columns].
struct MatrixPart {
  const TensorInfo* tensor = nullptr;
  int64_t rows = 0;
  // llama.cpp stores the rows of Q and K for RoPE on neighbouring pairs; Hugging Face rotates
  // halves of a head. > 0: the rows are stored that way, this many to a head, and read in Hugging
  // Face's order.
  int64_t interleaved_head_dim = 0;
};

// Matrices with the same input stacked along their outputs: one product instead of several. Points
// into a TensorSource.
struct StackedMatrix {
  std::vector<MatrixPart> parts;
  int64_t rows = 0;  // sum over the parts
  int64_t columns = 0;

  // Rows [begin, end) of the stack to `out` [end - begin, columns]. Thread-safe.
  absl::Status ReadRows(const TensorSource& source, int64_t begin, int64_t end, float* out) const;

  // The format that holds every part's blocks; nullopt when a part has none.
  std::optional<BlockFormat> StoredFormat() const;

  // The matrix for the kernels; the file's pages are let go of afterwards.
  absl::StatusOr<std::unique_ptr<PackedMatrix>> Pack(const TensorSource& source,
                                                     const MatrixPlan& plan) const;
};

}  // namespace concertina
