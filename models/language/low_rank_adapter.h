#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/kernels/matrix.h"
#include "models/weights/tensor_source.h"

namespace concertina {

// Low-rank addition to a (stacked) matrix, LoRA (arXiv 2106.09685) with scale 1:
// y += B (A x). Kept apart from the matrix so that it can act on some rows only: conversations
// without a picture get the language model unchanged. The A matrices of a stack are stacked, the B
// matrices are the blocks of one block-diagonal matrix, so a stack costs two products. Empty: adds
// nothing.
class LowRankAdapter {
 public:
  // One matrix of the stack: "<prefix>.lora_A.weight" [rank, in] and "<prefix>.lora_B.weight" [out,
  // rank].
  struct Part {
    std::string prefix;
    int64_t out;
  };

  LowRankAdapter() = default;

  // All parts, or none (an empty adapter), must be in `source`; ranks may differ.
  static absl::StatusOr<LowRankAdapter> Load(const TensorSource& source, MatrixType type,
                                             int64_t in, const std::vector<Part>& parts);

  bool empty() const { return down_ == nullptr; }
  int64_t bytes() const;

  // Floats of scratch for n rows.
  int64_t ScratchSize(int64_t n) const;

  // y [n, out] += scale[row] * B (A x[row]), x [n, in]; scratch has ScratchSize(n) floats.
  void Add(const float* x, int64_t n, const float* scale, float* scratch, float* y) const;

 private:
  std::unique_ptr<PackedMatrix> down_;  // the A matrices, stacked
  std::unique_ptr<PackedMatrix> up_;    // the B matrices, block-diagonal
};

}  // namespace concertina
