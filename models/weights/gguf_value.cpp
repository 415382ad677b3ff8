#include "models/weights/gguf_value.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "models/weights/checked.h"

namespace concertina {
namespace {

// 0 for types of variable size and for numbers that are no type.
uint64_t FixedSize(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return 1;
    case GgufType::kUint16:
    case GgufType::kInt16:
      return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32:
      return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      break;
  }
  return 0;
}

absl::Status TooShort() {
  return absl::InvalidArgumentError("a value reaches past the end of the file");
}

absl::StatusOr<GgufType> ReadType(ByteCursor& cursor) {
  uint32_t number = 0;
  if (!cursor.Read(&number)) return TooShort();
  if (number > static_cast<uint32_t>(GgufType::kFloat64)) {
    return absl::InvalidArgumentError(absl::StrCat("unknown value type ", number));
  }
  return static_cast<GgufType>(number);
}

absl::Status CheckBools(std::string_view bytes) {
  if (bytes.find_first_not_of(std::string_view("\0\1", 2)) == std::string_view::npos) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError("a bool is neither 0 nor 1");
}

absl::Status SkipArray(ByteCursor& cursor, int depth, GgufType* element_type, uint64_t* count);

absl::Status SkipElements(ByteCursor& cursor, int depth, GgufType type, uint64_t count) {
  if (const uint64_t size = FixedSize(type); size != 0) {
    const std::optional<uint64_t> bytes = CheckedMul(count, size);
    std::string_view encoded;
    if (!bytes || !cursor.ReadBytes(*bytes, &encoded)) return TooShort();
    return type == GgufType::kBool ? CheckBools(encoded) : absl::OkStatus();
  }
  // Every string and every array takes at least 8 bytes, so a hostile count ends here, not in a
  // long loop or a large allocation later.
  if (count > cursor.remaining() / 8) return TooShort();
  for (uint64_t i = 0; i < count; ++i) {
    if (type == GgufType::kString) {
      std::string_view text;
      if (!cursor.ReadString(&text)) return TooShort();
      continue;
    }
    GgufType inner_type = GgufType::kUint8;
    uint64_t inner_count = 0;
    absl::Status skipped = SkipArray(cursor, depth + 1, &inner_type, &inner_count);
    if (!skipped.ok()) return skipped;
  }
  return absl::OkStatus();
}

absl::Status SkipArray(ByteCursor& cursor, int depth, GgufType* element_type, uint64_t* count) {
  if (depth > kMaxGgufArrayDepth) {
    return absl::InvalidArgumentError(
        absl::StrCat("arrays are nested more than ", kMaxGgufArrayDepth, " deep"));
  }
  const absl::StatusOr<GgufType> type = ReadType(cursor);
  if (!type.ok()) return type.status();
  if (!cursor.Read(count)) return TooShort();
  *element_type = *type;
  return SkipElements(cursor, depth, *type, *count);
}

template <typename T>
T Decode(std::string_view encoded, uint64_t index = 0) {
  T value;
  std::memcpy(&value, encoded.data() + index * sizeof(T), sizeof(T));
  return value;
}

// Sign and magnitude class of any integer type: the value as int64, or nullopt when it is above.
std::optional<int64_t> DecodeInt(GgufType type, std::string_view encoded, uint64_t index) {
  switch (type) {
    case GgufType::kUint8:
      return Decode<uint8_t>(encoded, index);
    case GgufType::kInt8:
      return Decode<int8_t>(encoded, index);
    case GgufType::kUint16:
      return Decode<uint16_t>(encoded, index);
    case GgufType::kInt16:
      return Decode<int16_t>(encoded, index);
    case GgufType::kUint32:
      return Decode<uint32_t>(encoded, index);
    case GgufType::kInt32:
      return Decode<int32_t>(encoded, index);
    case GgufType::kInt64:
      return Decode<int64_t>(encoded, index);
    case GgufType::kUint64: {
      const uint64_t value = Decode<uint64_t>(encoded, index);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(value);
    }
    default:
      return std::nullopt;
  }
}

std::optional<float> DecodeFloat(GgufType type, std::string_view encoded, uint64_t index) {
  if (type == GgufType::kFloat32) return Decode<float>(encoded, index);
  if (type == GgufType::kFloat64) return static_cast<float>(Decode<double>(encoded, index));
  return std::nullopt;
}

absl::Status WrongArray(std::string_view wanted) {
  return absl::InvalidArgumentError(absl::StrCat("is not an array of ", std::string(wanted)));
}

// An array whose elements `decode` turns into T, or the error when one of them is nullopt.
template <typename T, typename DecodeFunction>
absl::StatusOr<std::vector<T>> DecodeArray(const GgufValue& value, std::string_view wanted,
                                           DecodeFunction decode) {
  if (value.type != GgufType::kArray || FixedSize(value.element_type) == 0) {
    return WrongArray(wanted);
  }
  std::vector<T> values;
  values.reserve(static_cast<size_t>(value.count));
  for (uint64_t i = 0; i < value.count; ++i) {
    const std::optional<T> element = decode(value.element_type, value.encoded, i);
    if (!element) return WrongArray(wanted);
    values.push_back(*element);
  }
  return values;
}

}  // namespace

absl::StatusOr<GgufValue> ParseGgufValue(ByteCursor& cursor) {
  const absl::StatusOr<GgufType> type = ReadType(cursor);
  if (!type.ok()) return type.status();
  GgufValue value;
  value.type = *type;
  if (*type == GgufType::kString) {
    if (!cursor.ReadString(&value.encoded)) return TooShort();
    return value;
  }
  if (*type != GgufType::kArray) {
    if (!cursor.ReadBytes(FixedSize(*type), &value.encoded)) return TooShort();
    absl::Status valid = *type == GgufType::kBool ? CheckBools(value.encoded) : absl::OkStatus();
    if (!valid.ok()) return valid;
    return value;
  }
  ByteCursor elements = cursor;
  absl::Status skipped = SkipArray(cursor, 1, &value.element_type, &value.count);
  if (!skipped.ok()) return skipped;
  constexpr uint64_t kArrayHeader = sizeof(uint32_t) + sizeof(uint64_t);
  std::string_view header;
  elements.ReadBytes(kArrayHeader, &header);
  elements.ReadBytes(cursor.position() - elements.position(), &value.encoded);
  return value;
}

std::optional<std::string_view> GgufString(const GgufValue& value) {
  if (value.type != GgufType::kString) return std::nullopt;
  return value.encoded;
}

std::optional<uint64_t> GgufUint(const GgufValue& value) {
  if (value.type == GgufType::kUint64) return Decode<uint64_t>(value.encoded);
  const std::optional<int64_t> number = DecodeInt(value.type, value.encoded, 0);
  if (!number || *number < 0) return std::nullopt;
  return static_cast<uint64_t>(*number);
}

std::optional<float> GgufFloat(const GgufValue& value) {
  return DecodeFloat(value.type, value.encoded, 0);
}

std::optional<bool> GgufBool(const GgufValue& value) {
  if (value.type != GgufType::kBool) return std::nullopt;
  return value.encoded[0] != 0;
}

absl::StatusOr<std::vector<std::string>> GgufStrings(const GgufValue& value) {
  if (value.type != GgufType::kArray || value.element_type != GgufType::kString) {
    return WrongArray("strings");
  }
  ByteCursor cursor(reinterpret_cast<const uint8_t*>(value.encoded.data()), value.encoded.size());
  std::vector<std::string> texts;
  texts.reserve(static_cast<size_t>(value.count));
  std::string_view text;
  while (texts.size() < value.count && cursor.ReadString(&text)) texts.emplace_back(text);
  return texts;
}

absl::StatusOr<std::vector<int64_t>> GgufInts(const GgufValue& value) {
  return DecodeArray<int64_t>(value, "integers below 2^63", DecodeInt);
}

absl::StatusOr<std::vector<float>> GgufFloats(const GgufValue& value) {
  return DecodeArray<float>(value, "floats", DecodeFloat);
}

}  // namespace concertina
