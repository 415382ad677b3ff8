#include "server/rpc/calls/call.h"

#include <algorithm>
#include <exception>
#include <new>
#include <optional>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/support/slice.h"
#include "server/engine/errors.h"
#include "server/rpc/parse/checks.h"
#include "server/rpc/parse/wire_scan.h"
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

std::string NewRequestId() {
  thread_local std::mt19937_64 random{std::random_device{}()};
  return absl::StrCat(absl::Hex(random(), absl::kZeroPad16));
}

// A refusal is an answer with a reason or about a field. What a client ended itself is none.
bool IsRefusal(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kCancelled) return false;
  return status.code() == absl::StatusCode::kInvalidArgument || !ReasonOf(status).empty();
}

}  // namespace

Call::Call(CallEnvironment& env, std::string_view method, grpc::CallbackServerContext& context)
    : env_(env),
      method_(method),
      context_(context),
      arrival_(std::chrono::steady_clock::now()),
      peer_(context.peer()),
      calls_at_arrival_(env.calls.Enter(peer_)) {
  request_id_ = ClientMetadata(context, "x-request-id").value_or("");
  if (!IsUsableRequestId(request_id_)) request_id_ = NewRequestId();
  // For the log, even if the call is refused before its body is read.
  const auto session_id = ClientMetadata(context, "x-session-id");
  if (session_id.has_value() && IsUuidV4(*session_id)) session_id_ = *session_id;
}

absl::Status Call::Admit() const {
  if (calls_at_arrival_.all >= env_.limits.max_calls) {
    return RetryLater("CALL_LIMIT", "too many calls in flight", kRetryAfterMs);
  }
  if (calls_at_arrival_.on_connection >= env_.limits.max_calls_per_connection) {
    return RetryLater("CONNECTION_LIMIT", "too many calls in flight on this connection",
                      kRetryAfterMs);
  }
  return CheckDeadline(context_.deadline(), std::chrono::system_clock::now());
}

absl::Status Call::Parse(const grpc::ByteBuffer* received, int64_t limit_bytes,
                         google::protobuf::Message* message) {
  // gRPC keeps the bytes for as long as the call lasts, which may be long.
  grpc::ByteBuffer bytes;
  bytes.Swap(const_cast<grpc::ByteBuffer*>(received));
  if (const size_t size = bytes.Length(); static_cast<int64_t>(size) > limit_bytes) {
    return FieldError("request", absl::StrCat("a message of ", size,
                                              " bytes is larger than the limit of ", limit_bytes));
  }
  // As received and as parsed.
  if (auto status = Hold(2 * static_cast<int64_t>(bytes.Length())); !status.ok()) return status;
  return ParseMessage(bytes, {env_.limits.max_message_items, env_.limits.max_message_depth},
                      message);
}

absl::Status Call::Hold(int64_t bytes) {
  const int64_t more = bytes - held_bytes_;
  const int64_t before = env_.request_bytes.fetch_add(more);
  if (more > 0 && before + more > env_.limits.max_request_bytes) {
    env_.request_bytes.fetch_sub(more);
    return RetryLater("OUT_OF_MEMORY", "the requests in flight hold all the memory they may",
                      kRetryAfterMs);
  }
  held_bytes_ = bytes;
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

absl::StatusOr<std::string> Call::RequiredSessionId(const std::string& in_body) {
  if (auto status = CheckSessionId(in_body); !status.ok()) return status;
  return SessionId(in_body);
}

absl::Status Call::CancelStatus() const {
  if (context_.deadline() - std::chrono::system_clock::now() <= kDeadlineSlack) {
    return absl::DeadlineExceededError("deadline exceeded");
  }
  return absl::CancelledError("cancelled by the client");
}

grpc::Status Call::Finish(const absl::Status& status) {
  context_.AddTrailingMetadata("x-request-id", request_id_);
  if (const auto pushback = RetryPushbackOf(status); pushback.has_value()) {
    context_.AddTrailingMetadata("grpc-retry-pushback-ms", *pushback);
  }
  const std::string code = absl::StatusCodeToString(status.code());
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - arrival_).count();
  const std::string reason = ReasonOf(status);
  env_.metrics.OnCall(method_, code, seconds);
  // Here and nowhere else: every refusal, whoever made it, is counted once.
  if (IsRefusal(status)) env_.metrics.OnRejected(reason.empty() ? "INVALID" : reason);
  if (env_.log) {
    env_.log({method_, code, reason.empty() ? FieldOf(status) : reason, request_id_, session_id_,
              seconds});
  }
  env_.request_bytes.fetch_sub(std::exchange(held_bytes_, 0));
  env_.calls.Leave(peer_);
  return ToGrpcStatus(status);
}

grpc::ByteBuffer Serialize(const google::protobuf::Message& message) {
  const grpc::Slice bytes(message.SerializeAsString());
  return {&bytes, 1};
}

absl::Status CheckDeadline(std::chrono::system_clock::time_point deadline,
                           std::chrono::system_clock::time_point now) {
  if (deadline > now) return absl::OkStatus();
  return absl::DeadlineExceededError("deadline exceeded before the call was taken up");
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
