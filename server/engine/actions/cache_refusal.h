#pragma once

#include "absl/status/status.h"

namespace concertina {

// A refusal of the cache as the client should see it: a budget that cannot hold the turn
// (FAILED_PRECONDITION) or a pool that has no pages (RESOURCE_EXHAUSTED, worth another try).
absl::Status CacheRefusal(const absl::Status& status);

}  // namespace concertina
