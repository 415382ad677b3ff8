#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"

namespace concertina {

// Largest configuration or tokenizer file that is read, bytes.
inline constexpr uint64_t kMaxTextFileBytes = uint64_t{64} << 20;

// The whole file. Errors: those of RegularFile::Open; INVALID_ARGUMENT when larger than
// kMaxTextFileBytes.
absl::StatusOr<std::string> ReadTextFile(const std::string& path);

// The file parsed as one JSON object. INVALID_ARGUMENT for anything else, also for nesting deeper
// than 64.
absl::StatusOr<nlohmann::json> ReadJsonFile(const std::string& path);

}  // namespace concertina
