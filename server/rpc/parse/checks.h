#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace concertina {

// Checks of single fields. Each error is INVALID_ARGUMENT and names the field. Pure functions.

// Lower-case hexadecimal, 8-4-4-4-12, version 4, variant 1 (RFC 9562).
bool IsUuidV4(std::string_view id);

// 64 lower-case hexadecimal digits.
bool IsSha256(std::string_view text);

absl::Status CheckSessionId(std::string_view id);

// low <= value <= high; NaN is refused.
absl::Status CheckRange(std::string_view field, double value, double low, double high);
absl::Status CheckRange(std::string_view field, int64_t value, int64_t low, int64_t high);

// "parts" and 3: "parts[3]".
std::string Indexed(std::string_view field, int64_t index);

}  // namespace concertina
