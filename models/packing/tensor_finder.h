#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "models/packing/stacked_matrix.h"
#include "models/weights/tensor_source.h"

namespace concertina {

// Looks tensors up by name and checks their shapes. The first fault sticks, so that a caller can
// ask for everything and look at status() once: NOT_FOUND or INVALID_ARGUMENT, naming the tensor.
class TensorFinder {
 public:
  explicit TensorFinder(const TensorSource& source) : source_(source) {}

  // nullptr when absent.
  const TensorInfo* Find(const std::string& name, const std::vector<int64_t>& shape);

  // The tensor as f32; empty after a fault.
  std::vector<float> Read(const std::string& name, const std::vector<int64_t>& shape);

  // Adds the matrix `name` to the bottom of `stack`. `shape`: its first dimension is the rows, the
  // others together the columns.
  void Append(const std::string& name, const std::vector<int64_t>& shape, StackedMatrix* stack,
              int64_t interleaved_head_dim = 0);

  // Records UNIMPLEMENTED if the file has a tensor of this name.
  void Refuse(const std::string& name);

  const TensorSource& source() const { return source_; }
  const absl::Status& status() const { return status_; }

 private:
  const TensorSource& source_;
  absl::Status status_;
};

}  // namespace concertina
