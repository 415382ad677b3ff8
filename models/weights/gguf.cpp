#include "models/weights/gguf.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "models/weights/gguf_parser.h"

namespace concertina {
namespace {

absl::Status AboutFile(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("'", path, "': ", status.message()));
}

// Applies an array decoder of gguf_value.h and names the key in its errors.
template <typename T>
absl::StatusOr<std::vector<T>> ArrayOf(const GgufValue* value, std::string_view key,
                                       absl::StatusOr<std::vector<T>> (*decode)(const GgufValue&)) {
  if (value == nullptr) {
    return absl::NotFoundError(absl::StrCat("metadata key ", QuotedName(key), " is missing"));
  }
  absl::StatusOr<std::vector<T>> values = decode(*value);
  if (values.ok()) return values;
  return absl::Status(values.status().code(), absl::StrCat("metadata key ", QuotedName(key), " ",
                                                           values.status().message()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Open(const std::string& path) {
  absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  absl::StatusOr<GgufHeader> header = ParseGgufHeader(file->data(), file->size());
  if (!header.ok()) return AboutFile(path, header.status());
  absl::StatusOr<TensorTable> table = TensorTable::Make(std::move(header->tensors));
  if (!table.ok()) return AboutFile(path, table.status());
  return std::unique_ptr<GgufFile>(
      new GgufFile(*std::move(file), *std::move(table), std::move(header->metadata)));
}

GgufFile::GgufFile(MappedFile file, TensorTable table, Metadata metadata)
    : MappedTensorSource(std::move(file), std::move(table)), metadata_(std::move(metadata)) {}

const GgufValue* GgufFile::FindValue(std::string_view key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? nullptr : &found->second;
}

std::optional<std::string_view> GgufFile::GetString(std::string_view key) const {
  const GgufValue* value = FindValue(key);
  return value == nullptr ? std::nullopt : GgufString(*value);
}

std::optional<uint64_t> GgufFile::GetUint(std::string_view key) const {
  const GgufValue* value = FindValue(key);
  return value == nullptr ? std::nullopt : GgufUint(*value);
}

std::optional<float> GgufFile::GetFloat(std::string_view key) const {
  const GgufValue* value = FindValue(key);
  return value == nullptr ? std::nullopt : GgufFloat(*value);
}

std::optional<bool> GgufFile::GetBool(std::string_view key) const {
  const GgufValue* value = FindValue(key);
  return value == nullptr ? std::nullopt : GgufBool(*value);
}

absl::StatusOr<std::vector<std::string>> GgufFile::GetStrings(std::string_view key) const {
  return ArrayOf<std::string>(FindValue(key), key, &GgufStrings);
}

absl::StatusOr<std::vector<int64_t>> GgufFile::GetInts(std::string_view key) const {
  return ArrayOf<int64_t>(FindValue(key), key, &GgufInts);
}

absl::StatusOr<std::vector<float>> GgufFile::GetFloats(std::string_view key) const {
  return ArrayOf<float>(FindValue(key), key, &GgufFloats);
}

}  // namespace concertina
