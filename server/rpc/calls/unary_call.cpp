#include "server/rpc/calls/unary_call.h"

#include <utility>

namespace concertina {

grpc::ServerUnaryReactor* UnaryCall::Start(RpcEnvironment& env, std::string_view method,
                                           grpc::CallbackServerContext* context,
                                           size_t message_bytes, int64_t limit_bytes,
                                           const Body& body) {
  const std::shared_ptr<UnaryCall> call(new UnaryCall(env, method, *context));
  call->self_ = call;
  const absl::Status status = Guarded([&] {
    if (auto admitted = call->call_.Admit(message_bytes, limit_bytes); !admitted.ok())
      return admitted;
    return body(call);
  });
  if (!status.ok()) call->Finish(status);
  return call.get();
}

void UnaryCall::Finish(const absl::Status& status) {
  grpc::ServerUnaryReactor::Finish(call_.Finish(status));
}

void UnaryCall::WhenCancelled(std::function<void(absl::Status)> callback) {
  std::optional<absl::Status> cancelled;
  {
    const std::lock_guard lock(mutex_);
    cancelled = cancelled_;
    if (!cancelled.has_value() && !done_) when_cancelled_ = callback;
  }
  if (cancelled.has_value()) callback(*cancelled);
}

bool UnaryCall::cancelled() const {
  const std::lock_guard lock(mutex_);
  return cancelled_.has_value();
}

void UnaryCall::OnCancel() {
  const absl::Status status = call_.CancelStatus();
  std::function<void(absl::Status)> callback;
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = status;
    callback = std::exchange(when_cancelled_, nullptr);
  }
  if (callback) callback(status);
}

void UnaryCall::OnDone() {
  // The callback may hold what holds this call.
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
    when_cancelled_ = nullptr;
  }
  self_.reset();
}

}  // namespace concertina
