#include "server/rpc/calls/unary_call.h"

#include <utility>

namespace concertina {

grpc::ServerUnaryReactor* UnaryCall::StartWith(CallEnvironment& env, std::string_view method,
                                               const RawCall& raw, const Body& body) {
  const std::shared_ptr<UnaryCall> call(new UnaryCall(env, method, raw));
  call->self_ = call;
  const absl::Status status = Guarded([&] {
    absl::Status admitted = call->call_.Admit();
    return admitted.ok() ? body(call) : admitted;
  });
  if (!status.ok()) call->Finish(status);
  return call.get();
}

void UnaryCall::Reply(const google::protobuf::Message& response) {
  response_ = Serialize(response);
  Finish(absl::OkStatus());
}

void UnaryCall::Finish(const absl::Status& error) {
  grpc::ServerUnaryReactor::Finish(call_.Finish(error));
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
