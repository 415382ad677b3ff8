#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace concertina::client {

// What a server says about a refusal beyond code and text: google.rpc details of the status.
struct ErrorDetails {
  std::string reason;  // ErrorInfo of domain "concertina", such as "SESSION_NOT_FOUND"; or empty
  std::string
      field;  // the field of BadRequest's first violation, such as "parts[1].image"; or empty
  std::optional<std::chrono::milliseconds> retry_after;  // RetryInfo
};

// A gRPC status with its details attached, for DetailsOf. Details that cannot be parsed are left
// out.
absl::Status FromGrpc(const grpc::Status& status);

// The details attached by FromGrpc; empty for any other status.
ErrorDetails DetailsOf(const absl::Status& status);

// One line for people: code, text, reason, field and retry delay.
std::string Describe(const absl::Status& status);

}  // namespace concertina::client
