#include "models/weights/gguf_parser.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "models/weights/checked.h"
#include "models/weights/dequantize.h"

namespace concertina {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint32_t kMaxDimensions = 4;
constexpr uint64_t kMaxNameBytes = 65535;
constexpr uint64_t kDefaultAlignment = 32;
// The least a metadata pair (empty key, one byte) and a tensor (empty name, scalar) take.
constexpr uint64_t kMinPairBytes = 8 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 4 + 4 + 8;

absl::Status Invalid(std::string_view what) {
  return absl::InvalidArgumentError(absl::string_view(what.data(), what.size()));
}

absl::Status InTensor(std::string_view name, std::string_view what) {
  return Invalid(absl::StrCat("tensor ", QuotedName(name), " ", std::string(what)));
}

DType FromGgmlType(uint32_t type) {
  switch (type) {  // enum ggml_type
    case 0:
      return DType::kF32;
    case 1:
      return DType::kF16;
    case 2:
      return DType::kQ4_0;
    case 3:
      return DType::kQ4_1;
    case 6:
      return DType::kQ5_0;
    case 7:
      return DType::kQ5_1;
    case 8:
      return DType::kQ8_0;
    case 30:
      return DType::kBf16;
    default:
      return DType::kOther;
  }
}

struct Counts {
  uint64_t tensors = 0;
  uint64_t pairs = 0;
};

absl::StatusOr<Counts> ReadPreamble(ByteCursor& cursor) {
  uint32_t magic = 0;
  uint32_t version = 0;
  Counts counts;
  if (!cursor.Read(&magic) || magic != kMagic) return Invalid("not a GGUF file");
  if (!cursor.Read(&version)) return Invalid("the header is cut off");
  if (version != 2 && version != 3) {
    const bool swapped = version != 0 && (version & 0xffffU) == 0;
    return absl::UnimplementedError(
        swapped
            ? "the file is big-endian; only little-endian GGUF is read"
            : absl::StrCat("GGUF version ", version, " is not supported; versions 2 and 3 are"));
  }
  if (!cursor.Read(&counts.tensors) || !cursor.Read(&counts.pairs)) {
    return Invalid("the header is cut off");
  }
  if (counts.pairs > cursor.remaining() / kMinPairBytes ||
      counts.tensors > cursor.remaining() / kMinTensorBytes) {
    return Invalid("the header promises more metadata or tensors than the file can hold");
  }
  return counts;
}

absl::Status ReadMetadata(ByteCursor& cursor, uint64_t count,
                          std::unordered_map<std::string_view, GgufValue>& metadata) {
  for (uint64_t i = 0; i < count; ++i) {
    std::string_view key;
    if (!cursor.ReadString(&key)) return Invalid("a metadata key reaches past the end of the file");
    if (key.empty() || key.size() > kMaxNameBytes) {
      return Invalid(absl::StrCat("metadata key number ", i, " is empty or too long"));
    }
    absl::StatusOr<GgufValue> value = ParseGgufValue(cursor);
    if (!value.ok()) {
      return Invalid(
          absl::StrCat("metadata key ", QuotedName(key), ": ", value.status().message()));
    }
    if (!metadata.emplace(key, *value).second) {
      return Invalid(absl::StrCat("metadata key ", QuotedName(key), " occurs twice"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ReadAlignment(
    const std::unordered_map<std::string_view, GgufValue>& metadata) {
  const auto found = metadata.find("general.alignment");
  if (found == metadata.end()) return kDefaultAlignment;
  const std::optional<uint64_t> alignment = GgufUint(found->second);
  if (!alignment || *alignment == 0 || (*alignment & (*alignment - 1)) != 0) {
    return Invalid("general.alignment is not a power of two");
  }
  return *alignment;
}

// The shape, outermost dimension first: the file stores ne[] innermost first.
absl::StatusOr<std::vector<int64_t>> ReadShape(ByteCursor& cursor, std::string_view name) {
  uint32_t dimensions = 0;
  if (!cursor.Read(&dimensions)) return InTensor(name, "is cut off");
  if (dimensions > kMaxDimensions) {
    return InTensor(name, absl::StrCat("has ", dimensions, " dimensions; at most 4 are allowed"));
  }
  std::vector<int64_t> shape(dimensions);
  for (uint32_t i = 0; i < dimensions; ++i) {
    uint64_t extent = 0;
    if (!cursor.Read(&extent)) return InTensor(name, "is cut off");
    if (extent == 0 || extent > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return InTensor(name, absl::StrCat("has a dimension of ", extent));
    }
    shape[dimensions - 1 - i] = static_cast<int64_t>(extent);
  }
  if (!CheckedElements(shape)) return InTensor(name, "has too many elements");
  return shape;
}

// Leaves `offset` as stored: from the start of the tensor data, whose place is not known yet.
absl::StatusOr<TensorInfo> ReadTensor(ByteCursor& cursor) {
  std::string_view name;
  if (!cursor.ReadString(&name)) return Invalid("a tensor name reaches past the end of the file");
  if (name.empty() || name.size() > kMaxNameBytes) {
    return Invalid("a tensor name is empty or too long");
  }
  absl::StatusOr<std::vector<int64_t>> shape = ReadShape(cursor, name);
  if (!shape.ok()) return shape.status();
  uint32_t ggml_type = 0;
  TensorInfo tensor;
  if (!cursor.Read(&ggml_type) || !cursor.Read(&tensor.offset)) return InTensor(name, "is cut off");
  tensor.name = std::string(name);
  tensor.dtype = FromGgmlType(ggml_type);
  tensor.shape = *std::move(shape);
  if (tensor.dtype == DType::kOther) return tensor;
  const std::optional<uint64_t> bytes = CheckedBytes(tensor.dtype, tensor.shape);
  if (!bytes) {
    return InTensor(name,
                    absl::StrCat("of shape ", ShapeText(tensor.shape), " is not a whole number of ",
                                 std::string(DTypeName(tensor.dtype)), " blocks per row"));
  }
  tensor.bytes = *bytes;
  return tensor;
}

// Makes the offset absolute and checks the extent.
absl::Status Place(TensorInfo& tensor, uint64_t data_start, uint64_t alignment, uint64_t size) {
  if ((tensor.offset & (alignment - 1)) != 0) return InTensor(tensor.name, "is not aligned");
  const std::optional<uint64_t> begin = CheckedAdd(data_start, tensor.offset);
  // A tensor of unknown size still has a first byte.
  const std::optional<uint64_t> end =
      begin ? CheckedAdd(*begin, std::max<uint64_t>(tensor.bytes, 1)) : std::nullopt;
  if (!end || *end > size) return InTensor(tensor.name, "reaches past the end of the file");
  tensor.offset = *begin;
  return absl::OkStatus();
}

absl::Status CheckOverlaps(const std::vector<TensorInfo>& tensors) {
  std::vector<const TensorInfo*> by_offset;
  by_offset.reserve(tensors.size());
  for (const TensorInfo& tensor : tensors) by_offset.push_back(&tensor);
  std::sort(by_offset.begin(), by_offset.end(),
            [](const TensorInfo* a, const TensorInfo* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const TensorInfo& before = *by_offset[i - 1];
    if (before.offset + std::max<uint64_t>(before.bytes, 1) > by_offset[i]->offset) {
      return InTensor(by_offset[i]->name,
                      absl::StrCat("overlaps with tensor ", QuotedName(before.name)));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GgufHeader> ParseGgufHeader(const uint8_t* data, size_t size) {
  ByteCursor cursor(data, size);
  const absl::StatusOr<Counts> counts = ReadPreamble(cursor);
  if (!counts.ok()) return counts.status();
  GgufHeader header;
  absl::Status status = ReadMetadata(cursor, counts->pairs, header.metadata);
  if (!status.ok()) return status;
  const absl::StatusOr<uint64_t> alignment = ReadAlignment(header.metadata);
  if (!alignment.ok()) return alignment.status();
  for (uint64_t i = 0; i < counts->tensors; ++i) {
    absl::StatusOr<TensorInfo> tensor = ReadTensor(cursor);
    if (!tensor.ok()) return tensor.status();
    header.tensors.push_back(*std::move(tensor));
  }
  const std::optional<uint64_t> data_start = CheckedAlignUp(cursor.position(), *alignment);
  if (!data_start) return Invalid("general.alignment is too large");
  for (TensorInfo& tensor : header.tensors) {
    status = Place(tensor, *data_start, *alignment, size);
    if (!status.ok()) return status;
  }
  status = CheckOverlaps(header.tensors);
  if (!status.ok()) return status;
  return header;
}

}  // namespace concertina
