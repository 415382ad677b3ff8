#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/weights/safetensors.h"

namespace concertina::testing {

// A golden.safetensors file: expected values by name.
class GoldenFile {
 public:
  static absl::StatusOr<GoldenFile> Open(const std::string& path);

  bool Has(const std::string& name) const { return file_->Find(name) != nullptr; }
  // Empty when absent or of another type.
  std::vector<float> Floats(const std::string& name) const;
  std::vector<int32_t> Ints(const std::string& name) const;
  std::vector<int64_t> Shape(const std::string& name) const;

  // Names that end with `suffix`, without it, sorted: "single" for "single/input_ids" and
  // "/input_ids".
  std::vector<std::string> NamesEndingWith(const std::string& suffix) const;

 private:
  explicit GoldenFile(std::unique_ptr<SafetensorsFile> file) : file_(std::move(file)) {}

  std::unique_ptr<SafetensorsFile> file_;
};

// The largest absolute difference; infinity when the sizes differ or one of the values is not a
// number.
double MaxAbsDifference(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace concertina::testing
