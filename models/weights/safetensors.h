#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "models/weights/mapped_source.h"
#include "models/weights/safetensors_header.h"

namespace concertina {

// One safetensors file, mapped. Float tensors are read through TensorSource; integer and bool
// tensors have dtype kOther and are read with ReadInts. Thread-safe.
class SafetensorsFile final : public MappedTensorSource {
 public:
  // Validates the whole header first (see ParseSafetensorsHeader). Errors: those of
  // MappedFile::Open; INVALID_ARGUMENT with the file and the fault.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);

  // All elements of an I64, I32, I16, I8, U8 or BOOL tensor, row-major. NOT_FOUND when absent;
  // INVALID_ARGUMENT for a float tensor.
  absl::StatusOr<std::vector<int64_t>> ReadInts(std::string_view name) const;

 private:
  SafetensorsFile(MappedFile file, TensorTable table, std::vector<IntegerType> integer_types);

  std::vector<IntegerType> integer_types_;  // one per tensor
};

// A Hugging Face model folder: its model.safetensors or, failing that, the shards that
// model.safetensors.index.json maps tensors to. Thread-safe.
class ShardedSafetensors final : public TensorSource {
 public:
  // NOT_FOUND when the folder has neither file; INVALID_ARGUMENT for an index whose weight_map is
  // missing or faulty, names a file outside the folder, or maps a tensor to a shard that lacks it;
  // else the errors of SafetensorsFile::Open. Tensors of a shard that are not mapped are left out.
  static absl::StatusOr<std::unique_ptr<ShardedSafetensors>> Open(const std::string& folder);

  const std::vector<TensorInfo>& tensors() const override { return table_.tensors(); }
  const TensorInfo* Find(std::string_view name) const override { return table_.Find(name); }
  absl::Status ReadRows(const TensorInfo& tensor, int64_t begin, int64_t end,
                        float* out) const override;
  void Release(const TensorInfo& tensor) const override;

 private:
  ShardedSafetensors(std::vector<std::unique_ptr<SafetensorsFile>> shards, TensorTable table,
                     std::vector<size_t> shard_of);

  // nullptr when the tensor is not ours.
  const SafetensorsFile* ShardOf(const TensorInfo& tensor) const;

  std::vector<std::unique_ptr<SafetensorsFile>> shards_;
  TensorTable table_;             // offsets count from the start of the tensor's shard
  std::vector<size_t> shard_of_;  // index into shards_, one per tensor
};

// A .safetensors file or a folder as ShardedSafetensors takes it.
absl::StatusOr<std::unique_ptr<TensorSource>> OpenSafetensors(const std::string& path);

}  // namespace concertina
