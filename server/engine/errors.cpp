#include "server/engine/errors.h"

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace concertina {
namespace {

constexpr std::string_view kFieldUrl = "concertina/field";
constexpr std::string_view kReasonUrl = "concertina/reason";
constexpr std::string_view kRetryUrl = "concertina/retry-after-ms";

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

std::string Payload(const absl::Status& status, std::string_view url) {
  auto payload = status.GetPayload(View(url));
  return payload ? std::string(*payload) : std::string();
}

}  // namespace

absl::Status FieldError(std::string_view field, std::string_view message) {
  absl::Status status = absl::InvalidArgumentError(absl::StrCat(View(field), ": ", View(message)));
  status.SetPayload(View(kFieldUrl), absl::Cord(View(field)));
  return status;
}

absl::Status FieldError(std::string_view field, std::string_view reason, std::string_view message) {
  absl::Status status = FieldError(field, message);
  status.SetPayload(View(kReasonUrl), absl::Cord(View(reason)));
  return status;
}

absl::Status ReasonError(absl::StatusCode code, std::string_view reason, std::string_view message) {
  absl::Status status(code, View(message));
  status.SetPayload(View(kReasonUrl), absl::Cord(View(reason)));
  return status;
}

absl::Status RetryLater(std::string_view reason, std::string_view message, int64_t retry_after_ms) {
  absl::Status status = ReasonError(absl::StatusCode::kResourceExhausted, reason, message);
  status.SetPayload(View(kRetryUrl), absl::Cord(absl::StrCat(retry_after_ms)));
  return status;
}

std::string FieldOf(const absl::Status& status) { return Payload(status, kFieldUrl); }
std::string ReasonOf(const absl::Status& status) { return Payload(status, kReasonUrl); }

std::optional<int64_t> RetryAfterMsOf(const absl::Status& status) {
  int64_t value = 0;
  if (!absl::SimpleAtoi(Payload(status, kRetryUrl), &value)) return std::nullopt;
  return value;
}

}  // namespace concertina
