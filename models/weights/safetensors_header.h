#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "models/weights/tensor_source.h"

namespace concertina {

// The integer types a safetensors file may hold besides floats; kNone for a float tensor.
enum class IntegerType { kNone, kI64, kI32, kI16, kI8, kU8, kBool };

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  // in the order of the data; offsets from the start of the file
  std::vector<IntegerType> integer_types;  // one per tensor
};

// The reference implementation's limit on the JSON header.
inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

// Parses and validates the header of a safetensors file (huggingface/safetensors, README "Format");
// `data` is the whole file. Allocates by nothing but bytes present. Refused: a header longer than
// the file or the limit, keys that occur twice, unknown fields and dtypes, sizes that are not
// shape x dtype, data ranges that overlap, leave a hole or do not cover the data exactly.
// INVALID_ARGUMENT says what is wrong.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(const uint8_t* data, size_t size);

}  // namespace concertina
