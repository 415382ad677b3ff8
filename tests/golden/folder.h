#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "tests/golden/report.h"
#include "tests/support/golden_file.h"

namespace concertina::testing {

// What a folder of goldens is about, told from its contents.
enum class FolderKind { kCheckpoint, kInstalledText, kBundledModel, kPreprocessing, kElastic };

// A folder of expected values: cases.json and golden.safetensors. Remembers which values were asked
// for, so that none goes unnoticed.
class GoldenFolder {
 public:
  // NOT_FOUND, INVALID_ARGUMENT: files are missing or malformed. UNIMPLEMENTED: another kind.
  static absl::StatusOr<GoldenFolder> Open(const std::string& path);

  const std::string& path() const { return path_; }
  FolderKind kind() const { return kind_; }
  const nlohmann::json& info() const { return info_; }  // cases.json

  bool Has(const std::string& name) const { return file_.Has(name); }
  std::vector<float> Floats(const std::string& name);
  std::vector<int32_t> Ints(const std::string& name);
  std::vector<int64_t> Shape(const std::string& name) const { return file_.Shape(name); }
  // Names below "<prefix>/" without it, sorted.
  std::vector<std::string> Below(const std::string& prefix) const;
  // The number n of a name below "<prefix>/" of the form "<stem>n".
  std::vector<int32_t> IndicesOf(const std::string& prefix, const std::string& stem) const;
  // An input of the reference, not an expected value of ours.
  void MarkUsed(const std::string& name) { used_.insert(name); }

  // Lists what nobody asked for: an unknown quantity is not checked, a known one fails.
  void ReportUnused(Report* report) const;

 private:
  GoldenFolder(std::string path, nlohmann::json info, GoldenFile file, FolderKind kind)
      : path_(std::move(path)), info_(std::move(info)), file_(std::move(file)), kind_(kind) {}

  std::string path_;
  nlohmann::json info_;
  GoldenFile file_;
  FolderKind kind_;
  std::set<std::string> used_;
};

}  // namespace concertina::testing
