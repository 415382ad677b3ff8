#pragma once

#include "absl/status/statusor.h"
#include "concertina/v1/cache.pb.h"
#include "server/engine/requests.h"

namespace concertina {

// Checked conversions of cache settings; errors name fields below "policy" and "budget".

absl::StatusOr<Budget> ParseBudget(const v1::Budget& budget);

// Null pointers stand for messages not set: everything is then the engine's default.
// `default_policy` is what an empty name means.
absl::StatusOr<CacheOptions> ParseCacheOptions(const v1::CachePolicy* policy,
                                               const v1::Budget* budget,
                                               std::string_view default_policy);

}  // namespace concertina
