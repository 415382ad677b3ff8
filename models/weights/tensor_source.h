#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace concertina {

// How a tensor is stored. kOther: known to exist, not readable as floats (integers of safetensors,
// GGUF types outside this list).
enum class DType { kF32, kF16, kBf16, kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ8_0, kOther };

// Describes one tensor of a file. Made by a reader, which guarantees that the product of the
// dimensions does not overflow (zeros counted as ones) and that the extent lies inside the file.
struct TensorInfo {
  std::string name;
  DType dtype = DType::kOther;
  std::vector<int64_t> shape;  // outermost first (for GGUF: the file's ne[] reversed); {} = scalar
  uint64_t offset = 0;         // of the first byte, from the start of its file
  uint64_t bytes = 0;          // 0 for a GGUF tensor of dtype kOther, whose size is unknown

  int64_t elements() const;
  int64_t rows() const;        // product of all dimensions but the last; 1 for scalars and vectors
  int64_t row_length() const;  // the last dimension; 1 for a scalar
};

struct BlockFormat;
struct BlockRows;

// Tensors by name, wherever they are stored. Const methods are thread-safe. Pointers and references
// to TensorInfo stay valid as long as the source.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  // In the order of the file (of the names, for several files).
  virtual const std::vector<TensorInfo>& tensors() const = 0;

  // nullptr when absent.
  virtual const TensorInfo* Find(std::string_view name) const = 0;

  // Dequantises rows [begin, end) of the tensor, seen as [rows, row_length], into `out`, which has
  // room for (end - begin) * row_length floats. The tensor is identified by its name.
  // NOT_FOUND: no such tensor; OUT_OF_RANGE: rows; UNIMPLEMENTED: dtype kOther.
  virtual absl::Status ReadRows(const TensorInfo& tensor, int64_t begin, int64_t end,
                                float* out) const = 0;

  // Takes the blocks of rows [begin, end) apart into `format`; see blocks.h. The tensor is
  // identified by its name. NOT_FOUND, OUT_OF_RANGE as above; UNIMPLEMENTED: the tensor is not
  // stored in blocks.
  virtual absl::Status ReadBlocks(const TensorInfo& tensor, int64_t begin, int64_t end,
                                  const BlockFormat& format, const BlockRows& out) const;

  // The tensor will hardly be read again: the kernel may drop its mapped pages. Reading still
  // works.
  virtual void Release(const TensorInfo& tensor) const = 0;
};

// The whole tensor as f32, row-major. NOT_FOUND when absent; INVALID_ARGUMENT when the shape is not
// `expected_shape`; the errors of ReadRows.
absl::StatusOr<std::vector<float>> ReadAll(const TensorSource& source, std::string_view name,
                                           const std::vector<int64_t>& expected_shape);

// Number of elements of `shape`; nullopt for a negative dimension or when the product of the
// dimensions (zeros counted as ones, so that no partial product overflows either) exceeds int64.
std::optional<int64_t> CheckedElements(const std::vector<int64_t>& shape);

// "[2, 3]", for messages.
std::string ShapeText(const std::vector<int64_t>& shape);

// A name from a file for use in a message: quoted, control characters escaped, long ones cut.
std::string QuotedName(std::string_view name);

}  // namespace concertina
