#include "server/rpc/calls/call.h"

#include <algorithm>
#include <exception>
#include <new>
#include <optional>

#include "absl/strings/str_cat.h"
#include "server/engine/errors.h"
#include "server/rpc/parse/checks.h"
#include "server/rpc/status_mapping.h"

namespace concertina {
namespace {

constexpr int64_t kRetryAfterMs = 1000;
constexpr size_t kMaxRequestIdBytes = 128;
// A client ends its call at its own deadline, which the server only knows rounded and from the
// arrival on: a call that ends this shortly before the server's idea of the deadline ended because
// of it.
constexpr std::chrono::milliseconds kDeadlineSlack{100};

std::optional<std::string> ClientMetadata(const grpc::CallbackServerContext& context,
                                          const char* key) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find(key);
  if (found == metadata.end()) return std::nullopt;
  return std::string(found->second.data(), found->second.size());
}

// Ids go into logs and back to the client: short and printable, or not at all.
bool IsUsableRequestId(const std::string& id) {
  return !id.empty() && id.size() <= kMaxRequestIdBytes &&
         std::all_of(id.begin(), id.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

}  // namespace

Call::Call(RpcEnvironment& env, std::string_view method, grpc::CallbackServerContext& context)
    : env_(env),
      method_(method),
      context_(context),
      arrival_(std::chrono::steady_clock::now()),
      calls_at_arrival_(env.calls.fetch_add(1)) {
  const auto request_id = ClientMetadata(context, "x-request-id");
  if (request_id.has_value() && IsUsableRequestId(*request_id)) request_id_ = *request_id;
}

absl::Status Call::Admit(size_t message_bytes, int64_t limit_bytes) const {
  if (calls_at_arrival_ >= env_.limits.max_calls) {
    env_.metrics.OnRejected("CALL_LIMIT");
    return RetryLater("CALL_LIMIT", "too many calls in flight", kRetryAfterMs);
  }
  if (static_cast<int64_t>(message_bytes) > limit_bytes) {
    return FieldError("request", absl::StrCat("a message of ", message_bytes,
                                              " bytes is larger than the limit of ", limit_bytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Call::SessionId(const std::string& in_body) {
  const auto in_metadata = ClientMetadata(context_, "x-session-id");
  if (in_metadata.has_value() && !in_body.empty() && *in_metadata != in_body) {
    return FieldError("session_id", "must equal the metadata x-session-id");
  }
  std::string id = in_body.empty() ? in_metadata.value_or("") : in_body;
  if (id.empty()) return id;
  if (auto status = CheckSessionId(id); !status.ok()) return status;
  session_id_ = id;
  return id;
}

absl::Status Call::CancelStatus() const {
  if (context_.deadline() - std::chrono::system_clock::now() <= kDeadlineSlack) {
    return absl::DeadlineExceededError("deadline exceeded");
  }
  return absl::CancelledError("cancelled by the client");
}

grpc::Status Call::Finish(const absl::Status& status) {
  if (!request_id_.empty()) context_.AddTrailingMetadata("x-request-id", request_id_);
  if (const auto pushback = RetryPushbackOf(status); pushback.has_value()) {
    context_.AddTrailingMetadata("grpc-retry-pushback-ms", *pushback);
  }
  const std::string code = absl::StatusCodeToString(status.code());
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - arrival_).count();
  env_.metrics.OnCall(method_, code, seconds);
  if (env_.log) {
    const std::string reason = ReasonOf(status);
    env_.log({method_, code, reason.empty() ? FieldOf(status) : reason, request_id_, session_id_,
              seconds});
  }
  env_.calls.fetch_sub(1);
  return ToGrpcStatus(status);
}

absl::Status Guarded(const std::function<absl::Status()>& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return RetryLater("OUT_OF_MEMORY", "not enough memory for this request", kRetryAfterMs);
  } catch (const std::exception&) {
    return absl::InternalError("exception in a handler");
  }
}

}  // namespace concertina
