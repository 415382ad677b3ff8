#pragma once

#include "absl/status/status.h"
#include "client/conversation.h"

namespace concertina::cli {

// Whether a turn really did what the service promises: a complete, non-empty answer, every one of
// `layers` layers folded, the sums of the fold equal to the session's cache, and cache and budget
// in agreement after the fold and after the answer. FAILED_PRECONDITION says what is wrong.
absl::Status VerifyTurn(const client::Answer& answer, int layers);

}  // namespace concertina::cli
