#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cache/budget.h"

namespace concertina {

// Sizes and budgets as people write them.

// "512MiB", "2GiB", "64KiB", "1048576", "1048576B"; binary units only, whole numbers, at least 1.
absl::StatusOr<int64_t> ParseBytes(std::string_view text);

// "0.2" is a ratio, "256t" tokens, "64MiB" bytes (a unit is needed, else it is a ratio).
absl::StatusOr<Budget> ParseBudgetText(std::string_view text);

// The inverse of ParseBudgetText.
std::string FormatBudget(const Budget& budget);

}  // namespace concertina
