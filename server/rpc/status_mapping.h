#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace concertina {

// The only place where our errors become gRPC's. Codes are equal; the payloads of
// server/engine/errors.h become google.rpc details in "grpc-status-details-bin": BadRequest for a
// field, ErrorInfo (domain "concertina") for a reason, RetryInfo for a retry hint, QuotaFailure
// beside RESOURCE_EXHAUSTED. Texts of INTERNAL and UNKNOWN errors are replaced: they may come from
// libraries.
grpc::Status ToGrpcStatus(const absl::Status& status);

// Value of the trailing metadata "grpc-retry-pushback-ms", if there is a retry hint.
std::optional<std::string> RetryPushbackOf(const absl::Status& status);

}  // namespace concertina
