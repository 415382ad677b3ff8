#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "models/weights/gguf_value.h"
#include "models/weights/mapped_source.h"

namespace concertina {

// A GGUF file (version 2 or 3, little-endian), mapped: tensors and typed metadata. Thread-safe.
// Tensors have the shape PyTorch would give them (the file's ne[] reversed) and dtype kOther when
// stored in a type outside DType; those can be listed, not read.
class GgufFile final : public MappedTensorSource {
 public:
  // Validates the whole header first (see ParseGgufHeader). Errors: those of MappedFile::Open;
  // INVALID_ARGUMENT or UNIMPLEMENTED with the file and the fault.
  static absl::StatusOr<std::unique_ptr<GgufFile>> Open(const std::string& path);

  // Scalars: nullopt when the key is absent, has another type or (integers, any width and sign)
  // does not fit. Views live as long as the file object.
  std::optional<std::string_view> GetString(std::string_view key) const;
  std::optional<uint64_t> GetUint(std::string_view key) const;
  std::optional<float> GetFloat(std::string_view key) const;
  std::optional<bool> GetBool(std::string_view key) const;

  // Arrays: NOT_FOUND when the key is absent, INVALID_ARGUMENT when it is something else.
  absl::StatusOr<std::vector<std::string>> GetStrings(std::string_view key) const;
  absl::StatusOr<std::vector<int64_t>> GetInts(std::string_view key) const;
  absl::StatusOr<std::vector<float>> GetFloats(std::string_view key) const;

 private:
  using Metadata = std::unordered_map<std::string_view, GgufValue>;

  GgufFile(MappedFile file, TensorTable table, Metadata metadata);

  // nullptr when absent.
  const GgufValue* FindValue(std::string_view key) const;

  Metadata metadata_;  // views into the mapped file
};

}  // namespace concertina
