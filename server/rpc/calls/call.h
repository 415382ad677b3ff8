#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"
#include "server/rpc/environment.h"

namespace concertina {

// One RPC from arrival to status: holds its place among the calls in flight, counts, times and logs
// it, echoes "x-request-id". Not thread-safe, but Finish may come from another thread than the
// rest.
class Call {
 public:
  // `context` must stay valid until Finish.
  Call(RpcEnvironment& env, std::string_view method, grpc::CallbackServerContext& context);
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // What every method checks first: room for one more call and the size of the message.
  // RESOURCE_EXHAUSTED, INVALID_ARGUMENT.
  absl::Status Admit(size_t message_bytes, int64_t limit_bytes) const;

  // The session this call is about, from body and "x-session-id", which must be equal where both
  // are given. INVALID_ARGUMENT.
  absl::StatusOr<std::string> SessionId(const std::string& in_body);

  // Why the call was cancelled: DEADLINE_EXCEEDED or CANCELLED.
  absl::Status CancelStatus() const;

  std::chrono::steady_clock::time_point arrival() const { return arrival_; }
  RpcEnvironment& env() { return env_; }

  // The status to finish the RPC with; called exactly once, last. Gives the place among the calls
  // in flight back: afterwards neither the environment nor the context is touched, which may be
  // gone before this.
  grpc::Status Finish(const absl::Status& status);

 private:
  RpcEnvironment& env_;
  const std::string_view method_;
  grpc::CallbackServerContext& context_;
  const std::chrono::steady_clock::time_point arrival_;
  const int32_t calls_at_arrival_;
  std::string request_id_;
  std::string session_id_;
};

// Runs `body`; an exception becomes INTERNAL. No exception may leave a handler.
absl::Status Guarded(const std::function<absl::Status()>& body);

}  // namespace concertina
