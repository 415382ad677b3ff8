#include "models/weights/tensor_source.h"

#include <algorithm>
#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "models/weights/checked.h"

namespace concertina {

int64_t TensorInfo::elements() const { return rows() * row_length(); }

int64_t TensorInfo::rows() const {
  int64_t product = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) product *= shape[i];
  return product;
}

int64_t TensorInfo::row_length() const { return shape.empty() ? 1 : shape.back(); }

absl::Status TensorSource::ReadBlocks(const TensorInfo& tensor, int64_t, int64_t,
                                      const BlockFormat&, const BlockRows&) const {
  return absl::UnimplementedError(
      absl::StrCat("tensor ", QuotedName(tensor.name), " is not stored in blocks"));
}

absl::StatusOr<std::vector<float>> ReadAll(const TensorSource& source, std::string_view name,
                                           const std::vector<int64_t>& expected_shape) {
  const TensorInfo* tensor = source.Find(name);
  if (tensor == nullptr) {
    return absl::NotFoundError(absl::StrCat("tensor ", QuotedName(name), " is missing"));
  }
  if (tensor->shape != expected_shape) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", QuotedName(name), " has shape ",
                                                   ShapeText(tensor->shape), ", expected ",
                                                   ShapeText(expected_shape)));
  }
  // Asking for no rows checks the type, whose extent the reader has proved to lie in the file:
  // only then is the element count safe to allocate by.
  if (absl::Status readable = source.ReadRows(*tensor, 0, 0, nullptr); !readable.ok()) {
    return readable;
  }
  std::vector<float> values(static_cast<size_t>(tensor->elements()));
  absl::Status read = source.ReadRows(*tensor, 0, tensor->rows(), values.data());
  if (!read.ok()) return read;
  return values;
}

std::optional<int64_t> CheckedElements(const std::vector<int64_t>& shape) {
  uint64_t product = 1;
  bool has_zero = false;
  for (const int64_t dimension : shape) {
    if (dimension < 0) return std::nullopt;
    has_zero = has_zero || dimension == 0;
    const uint64_t factor = std::max<uint64_t>(1, static_cast<uint64_t>(dimension));
    const std::optional<uint64_t> next = CheckedMul(product, factor);
    if (!next || *next > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return std::nullopt;
    }
    product = *next;
  }
  return has_zero ? 0 : static_cast<int64_t>(product);
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

std::string QuotedName(std::string_view name) {
  constexpr size_t kMaxShown = 100;
  const std::string_view shown = name.substr(0, kMaxShown);
  return absl::StrCat("'", absl::CHexEscape(absl::string_view(shown.data(), shown.size())), "'",
                      shown.size() < name.size() ? "..." : "");
}

}  // namespace concertina
