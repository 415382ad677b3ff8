#include "models/weights/safetensors.h"

#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace concertina {
namespace {

template <typename T>
std::vector<int64_t> Widen(const uint8_t* in, int64_t elements) {
  std::vector<int64_t> values(static_cast<size_t>(elements));
  for (size_t i = 0; i < values.size(); ++i) {
    T value;
    std::memcpy(&value, in + i * sizeof(T), sizeof(T));
    values[i] = value;
  }
  return values;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  absl::StatusOr<SafetensorsHeader> header = ParseSafetensorsHeader(file->data(), file->size());
  if (!header.ok()) {
    return absl::Status(header.status().code(),
                        absl::StrCat("'", path, "': ", header.status().message()));
  }
  // Cannot fail: the parser refuses keys that occur twice.
  absl::StatusOr<TensorTable> table = TensorTable::Make(std::move(header->tensors));
  if (!table.ok()) return table.status();
  return std::unique_ptr<SafetensorsFile>(
      new SafetensorsFile(*std::move(file), *std::move(table), std::move(header->integer_types)));
}

SafetensorsFile::SafetensorsFile(MappedFile file, TensorTable table,
                                 std::vector<IntegerType> integer_types)
    : MappedTensorSource(std::move(file), std::move(table)),
      integer_types_(std::move(integer_types)) {}

absl::StatusOr<std::vector<int64_t>> SafetensorsFile::ReadInts(std::string_view name) const {
  const TensorInfo* tensor = Find(name);
  if (tensor == nullptr) {
    return absl::NotFoundError(absl::StrCat("tensor ", QuotedName(name), " is missing"));
  }
  const uint8_t* in = file().data() + tensor->offset;
  switch (integer_types_[table().IndexOf(tensor)]) {
    case IntegerType::kI64:
      return Widen<int64_t>(in, tensor->elements());
    case IntegerType::kI32:
      return Widen<int32_t>(in, tensor->elements());
    case IntegerType::kI16:
      return Widen<int16_t>(in, tensor->elements());
    case IntegerType::kI8:
      return Widen<int8_t>(in, tensor->elements());
    case IntegerType::kU8:
    case IntegerType::kBool:
      return Widen<uint8_t>(in, tensor->elements());
    case IntegerType::kNone:
      break;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("tensor ", QuotedName(name), " does not hold integers"));
}

}  // namespace concertina
