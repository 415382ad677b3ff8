#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/message.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/status.h"
#include "server/rpc/environment.h"

namespace concertina {

// One RPC from arrival to status: holds its place among the calls in flight, checks what all
// methods check first, counts, times and logs it, sends "x-request-id" back. Not thread-safe, but
// Finish may come from another thread than the rest.
class Call {
 public:
  // `context` must stay valid until Finish.
  Call(CallEnvironment& env, std::string_view method, grpc::CallbackServerContext& context);
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // What comes before any work: room for one more call, here and on its connection, and time to
  // answer it. RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED.
  absl::Status Admit() const;

  // Parses a message that the client sent, and frees its bytes. Size and structure are checked
  // first, and both forms of the message are counted as held. INVALID_ARGUMENT about the field
  // "request"; as Hold.
  absl::Status Parse(const grpc::ByteBuffer* received, int64_t limit_bytes,
                     google::protobuf::Message* message);

  // The call holds this many bytes of memory from now on, until it ends or says otherwise.
  // RESOURCE_EXHAUSTED, with nothing changed, when all calls together would hold too much.
  absl::Status Hold(int64_t bytes);
  int64_t held_bytes() const { return held_bytes_; }

  // The session this call is about, from body and "x-session-id", which must be equal where both
  // are given. INVALID_ARGUMENT.
  absl::StatusOr<std::string> SessionId(const std::string& in_body);
  // The same where the body must have it.
  absl::StatusOr<std::string> RequiredSessionId(const std::string& in_body);
  // The session as it shall be logged, where the server chose its id.
  void SetSessionId(const std::string& id) { session_id_ = id; }

  // Why the call was cancelled: DEADLINE_EXCEEDED or CANCELLED.
  absl::Status CancelStatus() const;

  std::chrono::steady_clock::time_point arrival() const { return arrival_; }
  CallEnvironment& env() { return env_; }

  // The status to finish the RPC with; called exactly once, last. Gives the place among the calls
  // in flight back: afterwards neither the environment nor the context is touched, which may be
  // gone before this.
  grpc::Status Finish(const absl::Status& status);

 private:
  CallEnvironment& env_;
  const std::string_view method_;
  grpc::CallbackServerContext& context_;
  const std::chrono::steady_clock::time_point arrival_;
  const std::string peer_;
  const CallCounter::Counts calls_at_arrival_;
  int64_t held_bytes_ = 0;
  std::string request_id_;
  std::string session_id_;
};

// The message as the client gets it. REQUIRES: less than 2 GiB, which all of ours are.
grpc::ByteBuffer Serialize(const google::protobuf::Message& message);

// DEADLINE_EXCEEDED if `deadline` is over.
absl::Status CheckDeadline(std::chrono::system_clock::time_point deadline,
                           std::chrono::system_clock::time_point now);

// Runs `body`; an exception becomes INTERNAL. No exception may leave a handler.
absl::Status Guarded(const std::function<absl::Status()>& body);

}  // namespace concertina
