#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "client/errors.h"
#include "concertina/v1/inference_service.grpc.pb.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"

namespace concertina::client {

// What a Client and its Conversations share. Thread-safe: gRPC's stubs are.
struct Connection {
  ClientOptions options;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::InferenceService::Stub> stub;
};

// A channel without encryption, with a connection of its own.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& target, const RetryOptions& retry);

inline constexpr char kSessionIdMetadata[] = "x-session-id";

inline void SetTimeout(grpc::ClientContext& context, std::chrono::milliseconds timeout) {
  context.set_deadline(std::chrono::system_clock::now() + timeout);
}

// Calls about a session name it in their metadata too: proxies route by it.
inline void SetSession(grpc::ClientContext& context, const std::string& id) {
  context.AddMetadata(kSessionIdMetadata, id);
}

// One unary call: the response, or the status with its details. `session_id` may be empty.
template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> Call(
    Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
    const Request& request, std::chrono::milliseconds timeout, const std::string& session_id = "") {
  grpc::ClientContext context;
  SetTimeout(context, timeout);
  if (!session_id.empty()) SetSession(context, session_id);
  Response response;
  const grpc::Status status = (stub.*method)(&context, request, &response);
  if (!status.ok()) return FromGrpc(status);
  return response;
}

}  // namespace concertina::client
