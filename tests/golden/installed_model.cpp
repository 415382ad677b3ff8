#include "tests/golden/installed_model.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "models/weights/sha256.h"

namespace concertina::testing {
namespace {

void AddDirectory(const std::string& directory, std::vector<std::string>* paths) {
  std::vector<std::string> found;
  std::error_code ignored;  // a directory that is not there has no models
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
    if (entry.path().extension() == ".gguf") found.push_back(entry.path().string());
  }
  std::sort(found.begin(), found.end());
  paths->insert(paths->end(), found.begin(), found.end());
}

}  // namespace

std::vector<std::string> InstalledModels::Candidates() const {
  std::vector<std::string> paths;
  if (!gguf.empty()) paths.push_back(gguf);
  if (!directory.empty()) AddDirectory(directory, &paths);
  const char* configured = std::getenv("CONCERTINA_MODEL");
  if (configured != nullptr && std::filesystem::path(configured).extension() == ".gguf") {
    paths.emplace_back(configured);
  }
  AddDirectory(CONCERTINA_SOURCE_DIR "/.models", &paths);
  return paths;
}

absl::StatusOr<std::string> InstalledModels::FindBySha256(const std::string& sha256) const {
  const std::vector<std::string> candidates = Candidates();
  const std::string wanted = absl::AsciiStrToLower(sha256);
  for (const std::string& path : candidates) {
    const absl::StatusOr<std::string> actual = Sha256OfFile(path);
    if (actual.ok() && *actual == wanted) return path;
  }
  return absl::NotFoundError(absl::StrCat("no installed model has SHA-256 ", wanted,
                                          "; tried: ", absl::StrJoin(candidates, ", ")));
}

}  // namespace concertina::testing
