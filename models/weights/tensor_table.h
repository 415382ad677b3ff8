#pragma once

#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "models/weights/tensor_source.h"

namespace concertina {

// An immutable list of tensors with an index by name. Thread-safe once made.
class TensorTable {
 public:
  // INVALID_ARGUMENT when two tensors have the same name.
  static absl::StatusOr<TensorTable> Make(std::vector<TensorInfo> tensors);

  TensorTable(TensorTable&&) = default;
  TensorTable& operator=(TensorTable&&) = default;
  TensorTable(const TensorTable&) = delete;
  TensorTable& operator=(const TensorTable&) = delete;

  const std::vector<TensorInfo>& tensors() const { return tensors_; }

  // nullptr when absent.
  const TensorInfo* Find(std::string_view name) const;

  // Position of a tensor that Find() returned.
  size_t IndexOf(const TensorInfo* tensor) const {
    return static_cast<size_t>(tensor - tensors_.data());
  }

 private:
  explicit TensorTable(std::vector<TensorInfo> tensors) : tensors_(std::move(tensors)) {}

  // The keys view the names in tensors_, which stay where they are when the table is moved.
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string_view, size_t> by_name_;
};

}  // namespace concertina
