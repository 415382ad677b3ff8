#include "tests/support/golden_file.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace concertina::testing {

absl::StatusOr<GoldenFile> GoldenFile::Open(const std::string& path) {
  absl::StatusOr<std::unique_ptr<SafetensorsFile>> file = SafetensorsFile::Open(path);
  if (!file.ok()) return file.status();
  return GoldenFile(*std::move(file));
}

std::vector<float> GoldenFile::Floats(const std::string& name) const {
  const TensorInfo* tensor = file_->Find(name);
  if (tensor == nullptr) return {};
  return ReadAll(*file_, name, tensor->shape).value_or(std::vector<float>());
}

std::vector<int32_t> GoldenFile::Ints(const std::string& name) const {
  const std::vector<int64_t> values = file_->ReadInts(name).value_or(std::vector<int64_t>());
  return std::vector<int32_t>(values.begin(), values.end());
}

std::vector<int64_t> GoldenFile::Shape(const std::string& name) const {
  const TensorInfo* tensor = file_->Find(name);
  return tensor == nullptr ? std::vector<int64_t>() : tensor->shape;
}

std::vector<std::string> GoldenFile::NamesEndingWith(const std::string& suffix) const {
  std::vector<std::string> names;
  for (const TensorInfo& tensor : file_->tensors()) {
    if (tensor.name.ends_with(suffix)) {
      names.push_back(tensor.name.substr(0, tensor.name.size() - suffix.size()));
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

double MaxAbsDifference(const std::vector<float>& a, const std::vector<float>& b) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (a.size() != b.size()) return kInfinity;
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (std::isnan(difference)) return kInfinity;
    worst = std::max(worst, difference);
  }
  return worst;
}

}  // namespace concertina::testing
