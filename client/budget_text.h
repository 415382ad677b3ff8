#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "concertina/v1/cache.pb.h"

namespace concertina::client {

// Budgets as people write them: "0.2" is a ratio in (0, 1], "256t" tokens per layer and KV head,
// "64MiB" bytes (GiB, MiB, KiB or B). INVALID_ARGUMENT for anything else.
absl::StatusOr<v1::Budget> ParseBudget(std::string_view text);

// The inverse of ParseBudget; "default" if no unit is set.
std::string FormatBudget(const v1::Budget& budget);

}  // namespace concertina::client
