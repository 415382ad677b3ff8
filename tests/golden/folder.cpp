#include "tests/golden/folder.h"

#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "models/config/json_file.h"

namespace concertina::testing {
namespace {

absl::StatusOr<FolderKind> KindOf(const std::string& path, const nlohmann::json& info) {
  if (std::filesystem::exists(path + "/config.json")) {
    absl::StatusOr<nlohmann::json> config = ReadJsonFile(path + "/config.json");
    if (!config.ok()) return config.status();
    const std::string type = config->value("model_type", "");
    if (type == "llava" || type == "llama") return FolderKind::kCheckpoint;
    return absl::UnimplementedError(absl::StrCat("goldens of a model of type '", type, "'"));
  }
  if (info.contains("gguf_sha256")) return FolderKind::kInstalledText;
  if (info.contains("files") && info.contains("sizes")) return FolderKind::kPreprocessing;
  if (info.contains("reference")) return FolderKind::kElastic;
  if (info.contains("image_token_index")) return FolderKind::kBundledModel;
  return absl::UnimplementedError("cases.json tells of no known kind of goldens");
}

// Quantities that some folder's checks compare, without the number of a layer.
bool IsKnown(const std::string& name) {
  static const std::set<std::string, std::less<>> kKnown = {"attn_colsum",
                                                            "attn_colsum_per_head",
                                                            "continuation_ids",
                                                            "continuation_logprobs",
                                                            "greedy_ids",
                                                            "greedy_logits",
                                                            "greedy_top2_ids",
                                                            "greedy_top2_logits",
                                                            "greedy_top8_ids",
                                                            "greedy_top8_values",
                                                            "hidden.",
                                                            "image_features",
                                                            "input_ids",
                                                            "k.",
                                                            "logits",
                                                            "logits_tail",
                                                            "logsumexp_last",
                                                            "pixel_values",
                                                            "top20_ids",
                                                            "top20_logits",
                                                            "v.",
                                                            "vision_hidden.",
                                                            "anchors",
                                                            "buckets",
                                                            "importance"};
  std::string quantity = name.substr(name.rfind('/') + 1);
  const bool numbered = quantity.find('.') != std::string::npos;
  while (numbered && absl::ascii_isdigit(static_cast<unsigned char>(quantity.back()))) {
    quantity.pop_back();
  }
  return kKnown.contains(quantity);
}

}  // namespace

absl::StatusOr<GoldenFolder> GoldenFolder::Open(const std::string& path) {
  absl::StatusOr<nlohmann::json> info = ReadJsonFile(path + "/cases.json");
  if (!info.ok()) return info.status();
  absl::StatusOr<GoldenFile> file = GoldenFile::Open(path + "/golden.safetensors");
  if (!file.ok()) return file.status();
  absl::StatusOr<FolderKind> kind = KindOf(path, *info);
  if (!kind.ok()) return kind.status();
  return GoldenFolder(path, *std::move(info), *std::move(file), *kind);
}

std::vector<float> GoldenFolder::Floats(const std::string& name) {
  used_.insert(name);
  return file_.Floats(name);
}

std::vector<int32_t> GoldenFolder::Ints(const std::string& name) {
  used_.insert(name);
  return file_.Ints(name);
}

std::vector<std::string> GoldenFolder::Below(const std::string& prefix) const {
  std::vector<std::string> names;
  const std::string start = prefix + "/";
  for (const std::string& name : file_.NamesEndingWith("")) {
    if (name.starts_with(start)) names.push_back(name.substr(start.size()));
  }
  return names;
}

std::vector<int32_t> GoldenFolder::IndicesOf(const std::string& prefix,
                                             const std::string& stem) const {
  std::vector<int32_t> indices;
  for (const std::string& name : Below(prefix)) {
    int32_t index = 0;
    if (name.starts_with(stem) && absl::SimpleAtoi(name.substr(stem.size()), &index)) {
      indices.push_back(index);
    }
  }
  return indices;
}

void GoldenFolder::ReportUnused(Report* report) const {
  bool begun = false;
  for (const std::string& name : file_.NamesEndingWith("")) {
    if (used_.contains(name)) continue;
    if (!begun) report->BeginCase("golden.safetensors");
    begun = true;
    if (IsKnown(name)) {
      report->Failed(name, "nothing to compare it with: no such case, layer or picture");
    } else {
      report->NotChecked(name, "unknown to this program");
    }
  }
}

}  // namespace concertina::testing
