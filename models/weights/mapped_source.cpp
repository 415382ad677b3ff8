#include "models/weights/mapped_source.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/weights/blocks.h"
#include "models/weights/dequantize.h"

namespace concertina {

MappedTensorSource::MappedTensorSource(MappedFile file, TensorTable table)
    : file_(std::move(file)), table_(std::move(table)) {
  // Loading packs tensor after tensor, front to back.
  file_.Advise(0, file_.size(), MappedFile::Advice::kSequential);
}

absl::StatusOr<MappedTensorSource::Extent> MappedTensorSource::Locate(const TensorInfo& tensor,
                                                                      int64_t begin,
                                                                      int64_t end) const {
  // The caller may have copied or altered its TensorInfo: only our own was checked.
  const TensorInfo* own = table_.Find(tensor.name);
  if (own == nullptr) {
    return absl::NotFoundError(absl::StrCat("tensor ", QuotedName(tensor.name), " is missing"));
  }
  const std::optional<BlockLayout> layout = LayoutOf(own->dtype);
  if (!layout) {
    return absl::UnimplementedError(absl::StrCat(
        "tensor ", QuotedName(own->name),
        " is stored in a type other than F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0"));
  }
  if (begin < 0 || end < begin || end > own->rows()) {
    return absl::OutOfRangeError(absl::StrCat("rows ", begin, " to ", end, " of tensor ",
                                              QuotedName(own->name), ", which has ", own->rows()));
  }
  const int64_t row_length = own->row_length();
  const int64_t row_bytes = row_length / layout->elements * layout->bytes;
  const uint64_t first_byte = own->offset + static_cast<uint64_t>(begin * row_bytes);
  return Extent{own->dtype, file_.data() + first_byte, (end - begin) * row_length};
}

absl::Status MappedTensorSource::ReadRows(const TensorInfo& tensor, int64_t begin, int64_t end,
                                          float* out) const {
  const absl::StatusOr<Extent> extent = Locate(tensor, begin, end);
  if (!extent.ok()) return extent.status();
  Dequantize(extent->dtype, extent->data, extent->elements, out);
  return absl::OkStatus();
}

absl::Status MappedTensorSource::ReadBlocks(const TensorInfo& tensor, int64_t begin, int64_t end,
                                            const BlockFormat& format, const BlockRows& out) const {
  const absl::StatusOr<Extent> extent = Locate(tensor, begin, end);
  if (!extent.ok()) return extent.status();
  if (!BlockFormatOf(extent->dtype))
    return TensorSource::ReadBlocks(tensor, begin, end, format, out);
  SplitBlocks(extent->dtype, extent->data, extent->elements, format, out);
  return absl::OkStatus();
}

void MappedTensorSource::Release(const TensorInfo& tensor) const {
  const TensorInfo* own = table_.Find(tensor.name);
  if (own != nullptr) {
    file_.Advise(own->offset, own->bytes, MappedFile::Advice::kDontNeed);
  }
}

}  // namespace concertina
