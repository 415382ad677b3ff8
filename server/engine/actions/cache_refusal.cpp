#include "server/engine/actions/cache_refusal.h"

#include <string>

#include "server/engine/errors.h"

namespace concertina {

constexpr int64_t kRetryAfterMs = 500;

absl::Status CacheRefusal(const absl::Status& status) {
  const std::string message(status.message());
  if (absl::IsFailedPrecondition(status)) {
    return ReasonError(absl::StatusCode::kFailedPrecondition, reason::kBudgetTooSmall, message);
  }
  if (absl::IsResourceExhausted(status)) {
    return RetryLater(reason::kPoolExhausted, message, kRetryAfterMs);
  }
  return status;
}

}  // namespace concertina
