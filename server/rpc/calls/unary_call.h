#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>

#include "grpcpp/support/server_callback.h"
#include "server/rpc/calls/call.h"

namespace concertina {

// A call with one request and one response. Keeps itself alive until gRPC is done with it.
class UnaryCall final : public grpc::ServerUnaryReactor,
                        public std::enable_shared_from_this<UnaryCall> {
 public:
  // A body that returns an error ends the call with it. One that returns OK has arranged for
  // Finish, at once or later from any thread.
  using Body = std::function<absl::Status(const std::shared_ptr<UnaryCall>&)>;

  // Checks the size of the message, then runs `body`. Returns what the service method returns.
  static grpc::ServerUnaryReactor* Start(RpcEnvironment& env, std::string_view method,
                                         grpc::CallbackServerContext* context, size_t message_bytes,
                                         int64_t limit_bytes, const Body& body);

  // Exactly once. The response must be complete.
  void Finish(const absl::Status& status);

  // Sets what is called when the client gives up or the deadline passes; at once if that was
  // before, never once the call is done.
  void WhenCancelled(std::function<void(absl::Status)> callback);
  bool cancelled() const;

  Call& call() { return call_; }

  void OnCancel() override;
  void OnDone() override;

 private:
  UnaryCall(RpcEnvironment& env, std::string_view method, grpc::CallbackServerContext& context)
      : call_(env, method, context) {}

  Call call_;
  mutable std::mutex mutex_;
  bool done_ = false;
  std::optional<absl::Status> cancelled_;
  std::function<void(absl::Status)> when_cancelled_;
  std::shared_ptr<UnaryCall> self_;
};

}  // namespace concertina
