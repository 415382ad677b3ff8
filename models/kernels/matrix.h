#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace concertina {

enum class MatrixType {
  kF32,   // own kernel; deterministic
  kBf16,  // LibTorch's oneDNN; rounds weights, activations and results to bf16
  // Blocks of 32 weights with a scale each, activations rounded to signed bytes, integer products
  // (block_matrix.h); deterministic.
  kInt8,    // 8 bits, rounded from whatever the file holds
  kStored,  // GGUF's own blocks of 4 to 8 bits, kept as they are; kInt8 for anything else
};

// A weight matrix W [n, k] laid out once for fast products y = x W^T. Immutable; products use
// shared scratch memory and run on the engine thread only (they go parallel inside).
//
// kF32, kInt8 and kStored are deterministic: an element of y is one chain of operations over
// ascending k, whatever m, the row's place among the m rows, and the number of threads.
class PackedMatrix {
 public:
  // Fills `out` [row_end - row_begin, k] with rows of W.
  using RowReader = absl::FunctionRef<absl::Status(int64_t row_begin, int64_t row_end, float* out)>;

  // Reads W block by block (the f32 copy is never whole). kInt8 and kStored become kInt8 when k is
  // a multiple of 32, kF32 otherwise. INVALID_ARGUMENT for sizes outside 1 .. 2^31 - 1 or more than
  // 2^38 elements, RESOURCE_EXHAUSTED when memory is refused, FAILED_PRECONDITION for kBf16 on a
  // CPU where oneDNN has no bf16, and the reader's errors.
  static absl::StatusOr<std::unique_ptr<PackedMatrix>> Pack(MatrixType type, int64_t n, int64_t k,
                                                            RowReader read_rows);

  virtual ~PackedMatrix() = default;
  PackedMatrix(const PackedMatrix&) = delete;
  PackedMatrix& operator=(const PackedMatrix&) = delete;

  // y = x W^T + bias, or y += x W^T + bias. x is [m, k] with rows `ldx` floats apart, y is [m, n]
  // with rows `ldy` apart, bias is [n] or null. x and y must not overlap.
  virtual void Multiply(const float* x, int64_t m, int64_t ldx, float* y, int64_t ldy,
                        bool accumulate, const float* bias) const = 0;

  // Memory held by the packed weights, in bytes.
  virtual int64_t bytes() const = 0;

  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  MatrixType type() const { return type_; }

 protected:
  PackedMatrix(MatrixType type, int64_t n, int64_t k) : type_(type), n_(n), k_(k) {}

 private:
  MatrixType type_;
  int64_t n_;
  int64_t k_;
};

// "f32", "bf16", "int8", "stored": as settings and messages have them.
std::string_view MatrixTypeName(MatrixType type);

// True for the types whose results do not depend on the other rows.
constexpr bool IsDeterministic(MatrixType type) { return type != MatrixType::kBf16; }

// True when kBf16 can be used on this CPU.
bool Bf16MatrixSupported();

}  // namespace concertina
