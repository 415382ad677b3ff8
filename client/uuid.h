#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace concertina::client {

// A random UUID, version 4 (RFC 9562), lower case: the only form of session id a server takes.
// Thread-safe. INTERNAL if the system has no randomness.
absl::StatusOr<std::string> MakeUuidV4();

}  // namespace concertina::client
