#pragma once

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/weights/mapped_file.h"
#include "models/weights/tensor_source.h"
#include "models/weights/tensor_table.h"

namespace concertina {

// The tensors of one mapped file: the part that the readers of all formats share. Thread-safe.
class MappedTensorSource : public TensorSource {
 public:
  const std::vector<TensorInfo>& tensors() const override { return table_.tensors(); }
  const TensorInfo* Find(std::string_view name) const override { return table_.Find(name); }
  absl::Status ReadRows(const TensorInfo& tensor, int64_t begin, int64_t end,
                        float* out) const override;
  absl::Status ReadBlocks(const TensorInfo& tensor, int64_t begin, int64_t end,
                          const BlockFormat& format, const BlockRows& out) const override;
  void Release(const TensorInfo& tensor) const override;

 protected:
  // REQUIRES: every tensor of `table` that is not kOther lies inside `file` and has the size that
  // its dtype and shape demand (what the format's parser has checked).
  MappedTensorSource(MappedFile file, TensorTable table);

  const MappedFile& file() const { return file_; }
  const TensorTable& table() const { return table_; }

 private:
  // Where rows [begin, end) lie; what ReadRows refuses.
  struct Extent {
    DType dtype;
    const uint8_t* data;
    int64_t elements;
  };
  absl::StatusOr<Extent> Locate(const TensorInfo& tensor, int64_t begin, int64_t end) const;

  MappedFile file_;
  TensorTable table_;
};

}  // namespace concertina
