#include "models/config/json_file.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "models/weights/mapped_file.h"
#include "models/weights/tensor_source.h"
#include "nlohmann/json.hpp"

namespace concertina {
namespace {

constexpr int kMaxDepth = 64;

}  // namespace

absl::StatusOr<std::string> ReadTextFile(const std::string& path) {
  absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  if (file->size() > kMaxTextFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(QuotedName(path), " has more than ", kMaxTextFileBytes, " bytes"));
  }
  return std::string(reinterpret_cast<const char*>(file->data()), file->size());
}

absl::StatusOr<nlohmann::json> ReadJsonFile(const std::string& path) {
  absl::StatusOr<std::string> text = ReadTextFile(path);
  if (!text.ok()) return text.status();
  bool too_deep = false;
  // Values below the limit are dropped as they are parsed: the tree, whose destructor recurses,
  // stays shallow.
  const auto limit_depth = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    too_deep = too_deep || depth > kMaxDepth;
    return depth <= kMaxDepth;
  };
  nlohmann::json json = nlohmann::json::parse(*text, limit_depth, /*allow_exceptions=*/false);
  if (too_deep || !json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(QuotedName(path), " is not a JSON object"));
  }
  return json;
}

}  // namespace concertina
