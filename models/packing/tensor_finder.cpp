#include "models/packing/tensor_finder.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace concertina {

const TensorInfo* TensorFinder::Find(const std::string& name, const std::vector<int64_t>& shape) {
  const TensorInfo* tensor = source_.Find(name);
  if (tensor == nullptr) {
    status_.Update(absl::NotFoundError(absl::StrCat("tensor ", name, " is missing")));
  } else if (tensor->shape != shape) {
    status_.Update(absl::InvalidArgumentError(absl::StrCat("tensor ", name, " has shape ",
                                                           ShapeText(tensor->shape), ", expected ",
                                                           ShapeText(shape))));
  }
  return tensor;
}

std::vector<float> TensorFinder::Read(const std::string& name, const std::vector<int64_t>& shape) {
  absl::StatusOr<std::vector<float>> values = ReadAll(source_, name, shape);
  if (values.ok()) return *std::move(values);
  status_.Update(values.status());
  return {};
}

void TensorFinder::Append(const std::string& name, const std::vector<int64_t>& shape,
                          StackedMatrix* stack, int64_t interleaved_head_dim) {
  const TensorInfo* tensor = Find(name, shape);
  stack->parts.push_back({tensor, shape[0], interleaved_head_dim});
  stack->rows += shape[0];
  stack->columns = 1;
  for (size_t i = 1; i < shape.size(); ++i) stack->columns *= shape[i];
}

void TensorFinder::Refuse(const std::string& name) {
  if (source_.Find(name) == nullptr) return;
  status_.Update(absl::UnimplementedError(absl::StrCat("tensor ", name, " is not supported")));
}

}  // namespace concertina
