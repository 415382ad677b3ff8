#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/weights/byte_cursor.h"

namespace concertina {

// Metadata value types, numbered as in the file (ggml/docs/gguf.md, gguf_metadata_value_type).
enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// One metadata value as a view of the encoded bytes; the file must outlive it. Validated by
// ParseGgufValue, decoded by the getters below. Immutable, thread-safe.
struct GgufValue {
  GgufType type = GgufType::kUint8;
  GgufType element_type = GgufType::kUint8;  // of arrays
  uint64_t count = 0;                        // elements of arrays
  std::string_view encoded;  // scalar: its bytes; string: the text; array: the elements
};

// Arrays may hold arrays; deeper than this is refused.
inline constexpr int kMaxGgufArrayDepth = 4;

// Reads a type tag and the value behind it and checks every length and count against the bytes that
// are left, every nested element and every bool (0 or 1). Allocates nothing. INVALID_ARGUMENT.
absl::StatusOr<GgufValue> ParseGgufValue(ByteCursor& cursor);

// nullopt when the value has another type or (integers) does not fit.
std::optional<std::string_view> GgufString(const GgufValue& value);
std::optional<uint64_t> GgufUint(const GgufValue& value);  // any integer type, >= 0
std::optional<float> GgufFloat(const GgufValue& value);    // float32, or float64 rounded
std::optional<bool> GgufBool(const GgufValue& value);

// INVALID_ARGUMENT when the value is not an array of that kind.
absl::StatusOr<std::vector<std::string>> GgufStrings(const GgufValue& value);
absl::StatusOr<std::vector<int64_t>> GgufInts(
    const GgufValue& value);  // any integer type that fits
absl::StatusOr<std::vector<float>> GgufFloats(const GgufValue& value);  // float32 or float64

}  // namespace concertina
