#include "client/retry.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace concertina::client {
namespace {

constexpr int kMostAttempts = 5;
constexpr std::chrono::milliseconds kShortestBackoff{1};

constexpr char kService[] = R"({"service": "concertina.v1.InferenceService"})";
constexpr char kNotTwice[] =
    R"({"service": "concertina.v1.InferenceService", "method": "OpenSession"},
       {"service": "concertina.v1.InferenceService", "method": "ForkSession"},
       {"service": "concertina.v1.InferenceService", "method": "Generate"})";

double Seconds(std::chrono::milliseconds time) {
  return std::chrono::duration<double>(std::max(time, kShortestBackoff)).count();
}

std::string MethodConfig(const char* names, const char* codes, const RetryOptions& options) {
  return absl::StrFormat(
      R"({"name": [%s], "retryPolicy": {"maxAttempts": %d, "initialBackoff": "%.3fs",
          "maxBackoff": "%.3fs", "backoffMultiplier": 2, "retryableStatusCodes": [%s]}})",
      names, std::min(options.max_attempts, kMostAttempts), Seconds(options.initial_backoff),
      Seconds(std::max(options.initial_backoff, options.max_backoff)), codes);
}

}  // namespace

std::string RetryServiceConfig(const RetryOptions& options) {
  if (options.max_attempts <= 1) return "";
  return absl::StrFormat(R"({"methodConfig": [%s, %s]})",
                         MethodConfig(kService, R"("UNAVAILABLE", "RESOURCE_EXHAUSTED")", options),
                         MethodConfig(kNotTwice, R"("RESOURCE_EXHAUSTED")", options));
}

}  // namespace concertina::client
