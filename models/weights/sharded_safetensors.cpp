#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "models/weights/mapped_file.h"
#include "models/weights/safetensors.h"
#include "models/weights/sharded_index.h"

namespace concertina {
namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
// Indices of the largest published models are below 1 MB.
constexpr size_t kMaxIndexBytes = 64 << 20;

absl::StatusOr<std::map<std::string, std::string>> ReadIndex(const std::string& path) {
  const absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  if (file->size() > kMaxIndexBytes) {
    return absl::InvalidArgumentError(absl::StrCat("'", path, "' is larger than 64 MiB"));
  }
  const std::string_view text(reinterpret_cast<const char*>(file->data()), file->size());
  absl::StatusOr<std::map<std::string, std::string>> weight_map = ParseShardedIndex(text);
  if (weight_map.ok()) return weight_map;
  return absl::Status(weight_map.status().code(),
                      absl::StrCat("'", path, "': ", weight_map.status().message()));
}

// The shards of a folder and which of their tensors to use.
struct Shards {
  std::vector<std::unique_ptr<SafetensorsFile>> files;
  std::vector<TensorInfo> tensors;
  std::vector<size_t> shard_of;  // index into files, one per tensor
};

absl::StatusOr<Shards> OpenSingle(const std::string& path) {
  absl::StatusOr<std::unique_ptr<SafetensorsFile>> file = SafetensorsFile::Open(path);
  if (!file.ok()) return file.status();
  Shards shards;
  shards.tensors = (*file)->tensors();
  shards.shard_of.assign(shards.tensors.size(), 0);
  shards.files.push_back(*std::move(file));
  return shards;
}

absl::StatusOr<Shards> OpenIndexed(const std::filesystem::path& folder) {
  const absl::StatusOr<std::map<std::string, std::string>> weight_map =
      ReadIndex((folder / kIndexFile).string());
  if (!weight_map.ok()) return weight_map.status();
  Shards shards;
  std::map<std::string, size_t> shard_index;
  for (const auto& [tensor_name, file_name] : *weight_map) {
    const auto [place, is_new] = shard_index.emplace(file_name, shards.files.size());
    if (is_new) {
      absl::StatusOr<std::unique_ptr<SafetensorsFile>> file =
          SafetensorsFile::Open((folder / file_name).string());
      if (!file.ok()) return file.status();
      shards.files.push_back(*std::move(file));
    }
    const TensorInfo* tensor = shards.files[place->second]->Find(tensor_name);
    if (tensor == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("shard ", QuotedName(file_name),
                                                     " lacks tensor ", QuotedName(tensor_name),
                                                     ", which the index maps to it"));
    }
    shards.tensors.push_back(*tensor);
    shards.shard_of.push_back(place->second);
  }
  return shards;
}

bool Exists(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ShardedSafetensors>> ShardedSafetensors::Open(
    const std::string& folder) {
  const std::filesystem::path root(folder);
  const bool single = Exists(root / kSingleFile);
  if (!single && !Exists(root / kIndexFile)) {
    return absl::NotFoundError(
        absl::StrCat("'", folder, "' holds neither ", kSingleFile, " nor ", kIndexFile));
  }
  absl::StatusOr<Shards> shards =
      single ? OpenSingle((root / kSingleFile).string()) : OpenIndexed(root);
  if (!shards.ok()) return shards.status();
  absl::StatusOr<TensorTable> table = TensorTable::Make(std::move(shards->tensors));
  if (!table.ok()) return table.status();
  return std::unique_ptr<ShardedSafetensors>(new ShardedSafetensors(
      std::move(shards->files), *std::move(table), std::move(shards->shard_of)));
}

ShardedSafetensors::ShardedSafetensors(std::vector<std::unique_ptr<SafetensorsFile>> shards,
                                       TensorTable table, std::vector<size_t> shard_of)
    : shards_(std::move(shards)), table_(std::move(table)), shard_of_(std::move(shard_of)) {}

const SafetensorsFile* ShardedSafetensors::ShardOf(const TensorInfo& tensor) const {
  const TensorInfo* own = table_.Find(tensor.name);
  return own == nullptr ? nullptr : shards_[shard_of_[table_.IndexOf(own)]].get();
}

absl::Status ShardedSafetensors::ReadRows(const TensorInfo& tensor, int64_t begin, int64_t end,
                                          float* out) const {
  const SafetensorsFile* shard = ShardOf(tensor);
  if (shard == nullptr) {
    return absl::NotFoundError(absl::StrCat("tensor ", QuotedName(tensor.name), " is missing"));
  }
  return shard->ReadRows(tensor, begin, end, out);
}

void ShardedSafetensors::Release(const TensorInfo& tensor) const {
  const SafetensorsFile* shard = ShardOf(tensor);
  if (shard != nullptr) shard->Release(tensor);
}

absl::StatusOr<std::unique_ptr<TensorSource>> OpenSafetensors(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return ShardedSafetensors::Open(path);
  return SafetensorsFile::Open(path);
}

}  // namespace concertina
