#include "server/rpc/calls/turn_stream.h"

#include <utility>

#include "server/rpc/parse/generate.h"
#include "server/rpc/render/events.h"

namespace concertina {

grpc::ServerWriteReactor<grpc::ByteBuffer>* TurnStream::Start(RpcEnvironment& env,
                                                              grpc::CallbackServerContext* context,
                                                              const grpc::ByteBuffer* request) {
  const std::shared_ptr<TurnStream> stream(new TurnStream(env, *context));
  stream->self_ = stream;
  const absl::Status status = Guarded([&] { return stream->Begin(request); });
  if (!status.ok()) stream->OnFinished(status);
  return stream.get();
}

absl::Status TurnStream::Begin(const grpc::ByteBuffer* bytes) {
  if (auto s = call_.Admit(); !s.ok()) return s;
  v1::GenerateRequest request;
  if (auto s = call_.Parse(bytes, env_.limits.large_message_bytes, &request); !s.ok()) return s;
  if (auto id = call_.SessionId(request.session_id()); !id.ok()) return id.status();
  const int64_t pixels = CountImages(request.parts()) * env_.images.prepared_bytes();
  if (auto s = call_.Hold(call_.held_bytes() + pixels); !s.ok()) return s;
  auto params = ParseGenerate(request, env_.limits, env_.engine.options(), env_.images);
  if (!params.ok()) return params.status();
  // The message goes; less than before cannot be refused.
  call_.Hold(HeldBytes(params->parts)).IgnoreError();
  params->arrival = call_.arrival();
  env_.stalls.Watch(self_);
  std::shared_ptr<Engine::Handle> handle = env_.engine.Generate(*std::move(params), self_);
  std::optional<absl::Status> cancelled;
  {
    const std::lock_guard lock(mutex_);
    handle_ = handle;
    cancelled = cancelled_;
  }
  // Cancelled before there was a handle to cancel.
  if (cancelled.has_value()) handle->Cancel(*cancelled);
  return absl::OkStatus();
}

void TurnStream::OnEvent(TurnEvent event) {
  v1::GenerateResponse response = Render(event);
  {
    const std::lock_guard lock(mutex_);
    if (broken_) return;
    if (pending_.empty() || !Coalesce(response, &pending_.back())) {
      pending_.push_back(std::move(response));
    }
    if (writing_ && !behind_since_.has_value()) behind_since_ = std::chrono::steady_clock::now();
  }
  Advance();
}

void TurnStream::OnFinished(absl::Status status) {
  {
    const std::lock_guard lock(mutex_);
    finished_ = std::move(status);
    handle_.reset();
  }
  Advance();
}

void TurnStream::Advance() {
  absl::Status final_status;
  {
    const std::lock_guard lock(mutex_);
    if (writing_ || finishing_) return;
    if (!pending_.empty()) {
      writing_ = true;
      write_started_ = std::chrono::steady_clock::now();
      outgoing_ = Serialize(pending_.front());
      pending_.pop_front();
    } else if (finished_.has_value()) {
      finishing_ = true;
      final_status = *finished_;
    } else {
      return;
    }
    if (!finishing_) behind_since_.reset();
  }
  // Outside the lock; `writing_` and `finishing_` keep every other thread out.
  if (finishing_) {
    Finish(call_.Finish(final_status));
  } else {
    StartWrite(&outgoing_);
  }
}

void TurnStream::OnWriteDone(bool ok) {
  std::optional<TimePoint> behind_since;
  {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    behind_since = behind_since_;
    if (!ok) {
      broken_ = true;
      pending_.clear();
    }
  }
  if (behind_since.has_value()) {
    const std::chrono::duration<double> stall = std::chrono::steady_clock::now() - *behind_since;
    env_.metrics.OnWriteStall(stall.count());
  }
  // A write may fail before OnCancel says why.
  if (!ok) CancelEngine(call_.CancelStatus());
  Advance();
}

void TurnStream::OnCancel() {
  const absl::Status status = call_.CancelStatus();
  {
    const std::lock_guard lock(mutex_);
    broken_ = true;
    pending_.clear();
  }
  CancelEngine(status);
}

void TurnStream::OnDone() { self_.reset(); }

void TurnStream::CancelEngine(absl::Status status) {
  std::shared_ptr<Engine::Handle> handle;
  {
    const std::lock_guard lock(mutex_);
    if (!cancelled_.has_value()) cancelled_ = status;
    handle = handle_;
  }
  if (handle != nullptr) handle->Cancel(std::move(status));
}

void TurnStream::CheckStall(TimePoint now) {
  {
    const std::lock_guard lock(mutex_);
    if (!writing_ || broken_ || now - write_started_ < env_.limits.stall_timeout) return;
    broken_ = true;
    pending_.clear();
    env_.metrics.OnRejected("CLIENT_STALLED");
    // The write outstanding keeps the call, and so the context, alive until it fails.
    context_.TryCancel();
  }
  CancelEngine(absl::CancelledError("the client took nothing for too long"));
}

}  // namespace concertina
