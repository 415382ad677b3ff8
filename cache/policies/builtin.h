#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "cache/policies/policy.h"

// Makers of the built-in policies, one per file; the registry lists them.

namespace concertina {

using PolicyMaker = absl::StatusOr<std::shared_ptr<const Policy>> (*)(const PolicyOptions&);

absl::StatusOr<std::shared_ptr<const Policy>> MakeConcertina(const PolicyOptions& options);
absl::StatusOr<std::shared_ptr<const Policy>> MakeConcertinaHq(const PolicyOptions& options);
absl::StatusOr<std::shared_ptr<const Policy>> MakeElastic(const PolicyOptions& options);
absl::StatusOr<std::shared_ptr<const Policy>> MakeFull(const PolicyOptions& options);
absl::StatusOr<std::shared_ptr<const Policy>> MakeH2o(const PolicyOptions& options);
absl::StatusOr<std::shared_ptr<const Policy>> MakeKeyDiff(const PolicyOptions& options);
absl::StatusOr<std::shared_ptr<const Policy>> MakeLocal(const PolicyOptions& options);
absl::StatusOr<std::shared_ptr<const Policy>> MakeOfficial(const PolicyOptions& options);
absl::StatusOr<std::shared_ptr<const Policy>> MakePrefixKv(const PolicyOptions& options);
absl::StatusOr<std::shared_ptr<const Policy>> MakeRandom(const PolicyOptions& options);
absl::StatusOr<std::shared_ptr<const Policy>> MakeSnapKv(const PolicyOptions& options);

}  // namespace concertina
