#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>

#include "grpcpp/support/server_callback.h"
#include "server/rpc/calls/call.h"

namespace concertina {

// A call as gRPC hands it over: nothing is parsed yet. Valid until the call is finished.
struct RawCall {
  grpc::CallbackServerContext* context;
  const grpc::ByteBuffer* request;
  grpc::ByteBuffer* response;
};

// A call with one request and one response. Keeps itself alive until gRPC is done with it.
class UnaryCall final : public grpc::ServerUnaryReactor,
                        public std::enable_shared_from_this<UnaryCall> {
 public:
  // Checks and parses the request, then runs `handler(const std::shared_ptr<UnaryCall>&, const
  // Request&)`. A handler that returns an error ends the call with it; one that returns OK has
  // arranged for Reply or Finish, at once or later from any thread. Returns what the service method
  // returns.
  template <typename Request, typename Handler>
  static grpc::ServerUnaryReactor* Start(CallEnvironment& env, std::string_view method,
                                         int64_t limit_bytes, const RawCall& raw,
                                         const Handler& handler) {
    return StartWith(env, method, raw, [&](const std::shared_ptr<UnaryCall>& call) {
      Request request;
      absl::Status status = call->call_.Parse(raw.request, limit_bytes, &request);
      return status.ok() ? handler(call, request) : status;
    });
  }

  // One of these, exactly once.
  void Reply(const google::protobuf::Message& response);
  void Finish(const absl::Status& error);

  // Sets what is called when the client gives up or the deadline passes; at once if that was
  // before, never once the call is done.
  void WhenCancelled(std::function<void(absl::Status)> callback);
  bool cancelled() const;

  Call& call() { return call_; }

  void OnCancel() override;
  void OnDone() override;

 private:
  using Body = std::function<absl::Status(const std::shared_ptr<UnaryCall>&)>;

  UnaryCall(CallEnvironment& env, std::string_view method, const RawCall& raw)
      : call_(env, method, *raw.context), response_(*raw.response) {}

  static grpc::ServerUnaryReactor* StartWith(CallEnvironment& env, std::string_view method,
                                             const RawCall& raw, const Body& body);

  Call call_;
  grpc::ByteBuffer& response_;
  mutable std::mutex mutex_;
  bool done_ = false;
  std::optional<absl::Status> cancelled_;
  std::function<void(absl::Status)> when_cancelled_;
  std::shared_ptr<UnaryCall> self_;
};

}  // namespace concertina
