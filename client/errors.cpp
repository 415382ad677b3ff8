#include "client/errors.h"

#include <charconv>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace concertina::client {
namespace {

constexpr char kDomain[] = "concertina";
constexpr char kReasonUrl[] = "concertina.client/reason";
constexpr char kFieldUrl[] = "concertina.client/field";
constexpr char kRetryUrl[] = "concertina.client/retry-after-ms";
// A server's hint is trusted up to here: it is multiplied and slept for.
constexpr int64_t kMaxRetrySeconds = 24 * 3600;

ErrorDetails ParseDetails(const std::string& bytes) {
  ErrorDetails details;
  google::rpc::Status status;
  if (!status.ParseFromString(bytes)) return details;
  for (const auto& any : status.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad_request;
    google::rpc::RetryInfo retry;
    if (any.UnpackTo(&info) && info.domain() == kDomain) {
      details.reason = info.reason();
    } else if (any.UnpackTo(&bad_request) && bad_request.field_violations_size() > 0) {
      details.field = bad_request.field_violations(0).field();
    } else if (any.UnpackTo(&retry)) {
      const auto& delay = retry.retry_delay();
      if (delay.seconds() < 0 || delay.seconds() > kMaxRetrySeconds || delay.nanos() < 0) continue;
      details.retry_after =
          std::chrono::milliseconds(delay.seconds() * 1000 + delay.nanos() / 1'000'000);
    }
  }
  return details;
}

std::string PayloadOf(const absl::Status& status, const char* url) {
  const auto payload = status.GetPayload(url);
  return payload.has_value() ? std::string(*payload) : std::string();
}

}  // namespace

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status out(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  const ErrorDetails details = ParseDetails(status.error_details());
  if (!details.reason.empty()) out.SetPayload(kReasonUrl, absl::Cord(details.reason));
  if (!details.field.empty()) out.SetPayload(kFieldUrl, absl::Cord(details.field));
  if (details.retry_after.has_value()) {
    out.SetPayload(kRetryUrl, absl::Cord(absl::StrCat(details.retry_after->count())));
  }
  return out;
}

ErrorDetails DetailsOf(const absl::Status& status) {
  ErrorDetails details;
  details.reason = PayloadOf(status, kReasonUrl);
  details.field = PayloadOf(status, kFieldUrl);
  const std::string retry = PayloadOf(status, kRetryUrl);
  int64_t ms = 0;
  const auto [end, error] = std::from_chars(retry.data(), retry.data() + retry.size(), ms);
  if (!retry.empty() && error == std::errc()) details.retry_after = std::chrono::milliseconds(ms);
  return details;
}

std::string Describe(const absl::Status& status) {
  const ErrorDetails details = DetailsOf(status);
  std::string line = absl::StrCat(absl::StatusCodeToString(status.code()), ": ", status.message());
  if (!details.reason.empty()) absl::StrAppend(&line, " [", details.reason, "]");
  if (!details.field.empty()) absl::StrAppend(&line, " [field ", details.field, "]");
  if (details.retry_after.has_value()) {
    absl::StrAppend(&line, " [try again in ", details.retry_after->count(), " ms]");
  }
  return line;
}

}  // namespace concertina::client
