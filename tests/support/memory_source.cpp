#include "tests/support/memory_source.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/status/status.h"

namespace concertina::testing {

void MemorySource::Set(const std::string& name, std::vector<int64_t> shape,
                       std::vector<float> values) {
  TensorInfo info{.name = name, .dtype = DType::kF32, .shape = std::move(shape)};
  entries_[name] = {std::move(info), std::move(values)};
  UpdateList();
}

void MemorySource::SetRandom(const std::string& name, std::vector<int64_t> shape, float scale) {
  std::mt19937 random(17);
  for (const char c : name) random.seed(static_cast<uint32_t>(random() + static_cast<uint32_t>(c)));
  std::uniform_real_distribution<float> value(-scale, scale);
  std::vector<float> values(static_cast<size_t>(CheckedElements(shape).value()));
  for (float& v : values) v = value(random);
  Set(name, std::move(shape), std::move(values));
}

void MemorySource::Erase(const std::string& name) {
  entries_.erase(name);
  UpdateList();
}

const std::vector<float>& MemorySource::Values(const std::string& name) const {
  return entries_.at(name).values;
}

const TensorInfo* MemorySource::Find(std::string_view name) const {
  const auto it = entries_.find(name);
  return it == entries_.end() ? nullptr : &it->second.info;
}

absl::Status MemorySource::ReadRows(const TensorInfo& tensor, int64_t begin, int64_t end,
                                    float* out) const {
  const auto it = entries_.find(tensor.name);
  if (it == entries_.end()) return absl::NotFoundError(tensor.name);
  const int64_t length = tensor.row_length();
  if (begin < 0 || begin > end || end > tensor.rows()) return absl::OutOfRangeError(tensor.name);
  std::copy_n(it->second.values.data() + begin * length, (end - begin) * length, out);
  return absl::OkStatus();
}

void MemorySource::UpdateList() {
  list_.clear();
  for (const auto& [name, entry] : entries_) list_.push_back(entry.info);
}

}  // namespace concertina::testing
