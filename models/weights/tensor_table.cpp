#include "models/weights/tensor_table.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace concertina {

absl::StatusOr<TensorTable> TensorTable::Make(std::vector<TensorInfo> tensors) {
  TensorTable table(std::move(tensors));
  table.by_name_.reserve(table.tensors_.size());
  for (size_t i = 0; i < table.tensors_.size(); ++i) {
    const std::string& name = table.tensors_[i].name;
    if (!table.by_name_.emplace(name, i).second) {
      return absl::InvalidArgumentError(absl::StrCat("two tensors are named ", QuotedName(name)));
    }
  }
  return table;
}

const TensorInfo* TensorTable::Find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace concertina
