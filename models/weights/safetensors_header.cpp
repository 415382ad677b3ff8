#include "models/weights/safetensors_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "models/weights/byte_cursor.h"
#include "models/weights/checked.h"
#include "models/weights/strict_json.h"

namespace concertina {
namespace {

constexpr size_t kMaxDimensions = 8;

struct StoredType {
  std::string_view name;
  DType dtype;
  IntegerType integer;
  uint64_t bytes;
};

constexpr StoredType kStoredTypes[] = {
    {"F32", DType::kF32, IntegerType::kNone, 4},    {"F16", DType::kF16, IntegerType::kNone, 2},
    {"BF16", DType::kBf16, IntegerType::kNone, 2},  {"I64", DType::kOther, IntegerType::kI64, 8},
    {"I32", DType::kOther, IntegerType::kI32, 4},   {"I16", DType::kOther, IntegerType::kI16, 2},
    {"I8", DType::kOther, IntegerType::kI8, 1},     {"U8", DType::kOther, IntegerType::kU8, 1},
    {"BOOL", DType::kOther, IntegerType::kBool, 1},
};

absl::Status Invalid(const std::string& what) { return absl::InvalidArgumentError(what); }

absl::Status InTensor(std::string_view name, std::string_view what) {
  return Invalid(absl::StrCat("tensor ", QuotedName(name), " ", std::string(what)));
}

// Collects {"name": {"dtype": .., "shape": [..], "data_offsets": [begin, end]}, ..} and ignores the
// strings under "__metadata__".
class HeaderVisitor final : public JsonVisitor {
 public:
  explicit HeaderVisitor(SafetensorsHeader* header) : header_(header) {}

  absl::Status OnObject(const Path& path) override {
    if (path.size() >= 2) return Misplaced(path);
    if (path.size() == 1) current_ = Entry();
    return absl::OkStatus();
  }

  absl::Status OnObjectEnd(const Path& path) override {
    if (path.size() != 1 || path[0] == kMetadata) return absl::OkStatus();
    return Finish(path[0]);
  }

  absl::Status OnArray(const Path& path) override {
    if (path.size() != 2 || path[0] == kMetadata) return Misplaced(path);
    if (path[1] == "shape" && !current_.shape) {
      current_.shape.emplace();
      return absl::OkStatus();
    }
    if (path[1] == "data_offsets" && !current_.offset_count) {
      current_.offset_count = 0;
      return absl::OkStatus();
    }
    return Misplaced(path);
  }

  absl::Status OnScalar(const Path& path, const Scalar& value) override {
    if (path.size() != 2) return Misplaced(path);
    const auto* text = std::get_if<std::string>(&value);
    if (path[0] == kMetadata) return text != nullptr ? absl::OkStatus() : Misplaced(path);
    if (path[1] == "dtype" && text != nullptr) return SetType(path[0], *text);
    const auto* number = std::get_if<uint64_t>(&value);
    if (number == nullptr) return Misplaced(path);
    if (path[1] == "shape" && current_.shape) return AddDimension(path[0], *number);
    if (path[1] == "data_offsets" && current_.offset_count) return AddOffset(path[0], *number);
    return Misplaced(path);
  }

 private:
  static constexpr std::string_view kMetadata = "__metadata__";

  struct Entry {
    const StoredType* type = nullptr;
    std::optional<std::vector<int64_t>> shape;
    std::optional<size_t> offset_count;
    std::array<uint64_t, 2> offsets = {0, 0};
  };

  static absl::Status Misplaced(const Path& path) {
    if (path.empty()) return Invalid("the header is not a JSON object");
    return InTensor(path[0], path.size() == 1
                                 ? "is not described by an object"
                                 : absl::StrCat("has a faulty field ", QuotedName(path[1])));
  }

  absl::Status SetType(const std::string& name, const std::string& type_name) {
    for (const StoredType& type : kStoredTypes) {
      if (type.name == type_name) {
        current_.type = &type;
        return absl::OkStatus();
      }
    }
    return InTensor(name, absl::StrCat("has the unsupported dtype ", QuotedName(type_name)));
  }

  absl::Status AddDimension(const std::string& name, uint64_t dimension) {
    if (current_.shape->size() == kMaxDimensions) return InTensor(name, "has too many dimensions");
    if (dimension > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return InTensor(name, "has too many elements");
    }
    current_.shape->push_back(static_cast<int64_t>(dimension));
    return absl::OkStatus();
  }

  absl::Status AddOffset(const std::string& name, uint64_t offset) {
    if (*current_.offset_count == 2) return InTensor(name, "has more than two data_offsets");
    current_.offsets[(*current_.offset_count)++] = offset;
    return absl::OkStatus();
  }

  // Offsets stay relative to the data section.
  absl::Status Finish(const std::string& name) {
    if (current_.type == nullptr || !current_.shape || current_.offset_count != size_t{2}) {
      return InTensor(name, "lacks dtype, shape or two data_offsets");
    }
    const std::optional<int64_t> elements = CheckedElements(*current_.shape);
    if (!elements) return InTensor(name, "has too many elements");
    const std::optional<uint64_t> bytes =
        CheckedMul(static_cast<uint64_t>(*elements), current_.type->bytes);
    const auto [begin, end] = current_.offsets;
    if (!bytes || begin > end || end - begin != *bytes) {
      return InTensor(
          name, absl::StrCat("of shape ", ShapeText(*current_.shape), " and dtype ",
                             std::string(current_.type->name), " does not fill its data_offsets"));
    }
    TensorInfo tensor{name, current_.type->dtype, *std::move(current_.shape), begin, *bytes};
    header_->tensors.push_back(std::move(tensor));
    header_->integer_types.push_back(current_.type->integer);
    return absl::OkStatus();
  }

  SafetensorsHeader* header_;
  Entry current_;
};

// Sorts by place and proves that the tensors cover [0, data_bytes) without holes or overlaps.
absl::Status SortAndCheckCover(uint64_t data_bytes, SafetensorsHeader& header) {
  std::vector<size_t> order(header.tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const TensorInfo& left = header.tensors[a];
    const TensorInfo& right = header.tensors[b];
    // An empty tensor shares its offset with the one behind it.
    return std::pair(left.offset, left.bytes) < std::pair(right.offset, right.bytes);
  });
  SafetensorsHeader sorted;
  uint64_t covered = 0;
  for (const size_t i : order) {
    TensorInfo& tensor = header.tensors[i];
    if (tensor.offset != covered) {
      return InTensor(tensor.name, tensor.offset < covered ? "overlaps with another tensor"
                                                           : "leaves a hole in front of it");
    }
    covered = tensor.offset + tensor.bytes;  // Finish() has seen this sum
    sorted.tensors.push_back(std::move(tensor));
    sorted.integer_types.push_back(header.integer_types[i]);
  }
  if (covered != data_bytes) {
    return Invalid(absl::StrCat("the tensors take ", covered, " bytes, the file has ", data_bytes));
  }
  header = std::move(sorted);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(const uint8_t* data, size_t size) {
  ByteCursor cursor(data, size);
  uint64_t header_bytes = 0;
  std::string_view text;
  if (!cursor.Read(&header_bytes)) return Invalid("not a safetensors file");
  if (header_bytes > kMaxSafetensorsHeaderBytes || !cursor.ReadBytes(header_bytes, &text)) {
    return Invalid("the header is longer than the file or than 100 MB");
  }
  if (text.empty() || text[0] != '{') return Invalid("the header is not a JSON object");
  SafetensorsHeader header;
  HeaderVisitor visitor(&header);
  // object of tensors > object of one tensor > shape
  absl::Status status = ParseStrictJson(text, {.max_depth = 3}, visitor);
  if (!status.ok()) return status;
  status = SortAndCheckCover(cursor.remaining(), header);
  if (!status.ok()) return status;
  for (TensorInfo& tensor : header.tensors) tensor.offset += cursor.position();
  return header;
}

}  // namespace concertina
