#include "models/weights/sharded_index.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "models/weights/strict_json.h"
#include "models/weights/tensor_source.h"

namespace concertina {
namespace {

constexpr size_t kMaxFileNameBytes = 255;  // NAME_MAX of common file systems

bool IsPlainName(std::string_view name) {
  return !name.empty() && name != "." && name.size() <= kMaxFileNameBytes &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos &&
         name.find("..") == std::string_view::npos;
}

class IndexVisitor final : public JsonVisitor {
 public:
  std::map<std::string, std::string> weight_map;
  bool has_weight_map = false;

  absl::Status OnObject(const Path& path) override {
    if (InWeightMap(path)) return path.size() == 1 ? Begin() : Faulty();
    return absl::OkStatus();
  }

  absl::Status OnObjectEnd(const Path&) override { return absl::OkStatus(); }

  absl::Status OnArray(const Path& path) override {
    // An empty path: the document is an array.
    return path.empty() || InWeightMap(path) ? Faulty() : absl::OkStatus();
  }

  absl::Status OnScalar(const Path& path, const Scalar& value) override {
    if (!InWeightMap(path)) return absl::OkStatus();
    const auto* file_name = std::get_if<std::string>(&value);
    if (path.size() != 2 || file_name == nullptr) return Faulty();
    if (!IsPlainName(*file_name)) {
      return absl::InvalidArgumentError(absl::StrCat("weight_map names ", QuotedName(*file_name),
                                                     ", which is not a plain file name"));
    }
    weight_map.emplace(path[1], *file_name);
    return absl::OkStatus();
  }

 private:
  static bool InWeightMap(const Path& path) { return !path.empty() && path[0] == "weight_map"; }

  static absl::Status Faulty() {
    return absl::InvalidArgumentError("weight_map does not map tensor names to file names");
  }

  absl::Status Begin() {
    has_weight_map = true;
    return absl::OkStatus();
  }
};

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> ParseShardedIndex(std::string_view text) {
  IndexVisitor visitor;
  absl::Status status = ParseStrictJson(text, {.max_depth = 8}, visitor);
  if (!status.ok()) return status;
  if (!visitor.has_weight_map) return absl::InvalidArgumentError("there is no weight_map");
  return std::move(visitor.weight_map);
}

}  // namespace concertina
