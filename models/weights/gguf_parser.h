#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "models/weights/gguf_value.h"
#include "models/weights/tensor_source.h"

namespace concertina {

// What precedes the tensor data of a GGUF file. Keys and values view the parsed bytes.
struct GgufHeader {
  std::unordered_map<std::string_view, GgufValue> metadata;
  std::vector<TensorInfo> tensors;  // offsets from the start of the file
};

// Parses and validates GGUF version 2 or 3, little-endian (ggml/docs/gguf.md). `data` is the whole
// file. Everything a file can lie about is checked before memory is allocated by it: counts and
// lengths fit in the bytes that are left, dimensions are positive, at most 4 and do not overflow,
// rows are whole blocks, tensors are aligned, lie inside the file and do not overlap, no key and no
// tensor name occurs twice. Tensors of types we don't read become kOther with bytes 0.
// INVALID_ARGUMENT says what is wrong; UNIMPLEMENTED for other versions and byte orders.
absl::StatusOr<GgufHeader> ParseGgufHeader(const uint8_t* data, size_t size);

}  // namespace concertina
