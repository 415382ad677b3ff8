#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace concertina::testing {

// One condition of the table under "Errors" in docs/api.md.
struct DocumentedError {
  std::string condition;  // as written there
  std::string code;       // "NOT_FOUND"
  std::string reason;     // "SESSION_NOT_FOUND"; empty for a dash

  auto operator<=>(const DocumentedError&) const = default;
};

// The rows of the table; a row that lists several conditions and reasons, with semicolons, makes as
// many. INVALID_ARGUMENT if there is no table, or a row cannot be read.
absl::StatusOr<std::vector<DocumentedError>> DocumentedErrors(const std::string& markdown);

}  // namespace concertina::testing
