#include "server/rpc/status_mapping.h"

#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/engine/errors.h"

namespace concertina {
namespace {

constexpr char kDomain[] = "concertina";

std::string PublicMessage(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kInternal || status.code() == absl::StatusCode::kUnknown) {
    return "internal error";
  }
  return std::string(status.message());
}

void AddDetails(const absl::Status& status, const std::string& message, google::rpc::Status* out) {
  if (const std::string field = FieldOf(status); !field.empty()) {
    google::rpc::BadRequest bad_request;
    auto* violation = bad_request.add_field_violations();
    violation->set_field(field);
    violation->set_description(message);
    out->add_details()->PackFrom(bad_request);
  }
  const std::string reason = ReasonOf(status);
  if (!reason.empty()) {
    google::rpc::ErrorInfo info;
    info.set_reason(reason);
    info.set_domain(kDomain);
    out->add_details()->PackFrom(info);
  }
  if (status.code() == absl::StatusCode::kResourceExhausted && !reason.empty()) {
    google::rpc::QuotaFailure quota;
    auto* violation = quota.add_violations();
    violation->set_subject(reason);
    violation->set_description(message);
    out->add_details()->PackFrom(quota);
  }
  if (const auto retry_ms = RetryAfterMsOf(status); retry_ms.has_value()) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(*retry_ms / 1000);
    retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(*retry_ms % 1000) * 1'000'000);
    out->add_details()->PackFrom(retry);
  }
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string message = PublicMessage(status);
  google::rpc::Status details;
  details.set_code(static_cast<int32_t>(status.code()));
  details.set_message(message);
  AddDetails(status, message, &details);
  const auto code = static_cast<grpc::StatusCode>(status.code());
  if (details.details_size() == 0) return {code, message};
  return {code, message, details.SerializeAsString()};
}

std::optional<std::string> RetryPushbackOf(const absl::Status& status) {
  const auto retry_ms = RetryAfterMsOf(status);
  if (!retry_ms.has_value()) return std::nullopt;
  return std::to_string(*retry_ms);
}

}  // namespace concertina
