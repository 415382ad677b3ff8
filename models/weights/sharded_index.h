#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace concertina {

// The weight_map of a model.safetensors.index.json: tensor name -> file name, sorted by tensor.
// INVALID_ARGUMENT for faulty JSON, a missing or faulty weight_map, and file names that are not
// plain names in the same folder (with a slash, a backslash, "..", a zero byte, or empty).
absl::StatusOr<std::map<std::string, std::string>> ParseShardedIndex(std::string_view text);

}  // namespace concertina
