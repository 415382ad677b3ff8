#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "client/client.h"
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

inline constexpr char kSessionIdMetadata[] = "x-session-id";

inline void SetTimeout(grpc::ClientContext& context, std::chrono::milliseconds timeout) {
  context.set_deadline(std::chrono::system_clock::now() + timeout);
}

// Calls about a session name it in their metadata too: proxies route by it.
inline void SetSession(grpc::ClientContext& context, const std::string& id) {
  context.AddMetadata(kSessionIdMetadata, id);
}

}  // namespace concertina::client
