#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cache/budget.h"

namespace concertina {

// Sizes, times and budgets as people write them. What a Format function gives, its Parse function
// takes back unchanged.

// "512MiB", "2GiB", "64KiB", "1048576", "1048576B"; binary units only, whole numbers, at least 1.
absl::StatusOr<int64_t> ParseBytes(std::string_view text);

// In the largest unit that gives a whole number: "512MiB", "77B".
std::string FormatBytes(int64_t bytes);

// "30s", "5m", "2h", "500ms", "1.5s"; a number alone is seconds. Whole milliseconds, at least 0, at
// most a year.
absl::StatusOr<std::chrono::milliseconds> ParseDuration(std::string_view text);

// In the largest unit that gives a whole number; "0" for none.
std::string FormatDuration(std::chrono::milliseconds duration);

// "0.2" is a ratio, "256t" tokens, "64MiB" bytes (a unit is needed, else it is a ratio).
absl::StatusOr<Budget> ParseBudgetText(std::string_view text);

std::string FormatBudget(const Budget& budget);

}  // namespace concertina
