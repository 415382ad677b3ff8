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
  if (!status.ok()) stream->Refuse(status);
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
  if (const auto* delta = std::get_if<DeltaEvent>(&event)) return OnDelta(*delta);
  v1::GenerateResponse response = Render(event);
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    if (broken_) return;
    if (text_waits()) pending_.push_back(TakeText());
    if (pending_.empty() || !ReplaceProgress(response, &pending_.back())) {
      pending_.push_back(std::move(response));
    }
    first = Queue();
  }
  if (first) env_.outbox.Add(self_);
}

void TurnStream::OnDelta(const DeltaEvent& delta) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    if (broken_) return;
    text_.text += delta.text;
    text_.token_ids.insert(text_.token_ids.end(), delta.token_ids.begin(), delta.token_ids.end());
    text_.logprobs.insert(text_.logprobs.end(), delta.logprobs.begin(), delta.logprobs.end());
    first = Queue();
  }
  if (first) env_.outbox.Add(self_);
}

void TurnStream::OnFinished(absl::Status status) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    finished_ = std::move(status);
    handle_.reset();
    first = Queue();
  }
  if (first) env_.outbox.Add(self_);
}

void TurnStream::Refuse(const absl::Status& status) {
  {
    const std::lock_guard lock(mutex_);
    finished_ = status;
  }
  Advance();
}

bool TurnStream::Queue() {
  if (writing_) {
    // Whoever ends the write goes on.
    if (!nothing_waits() && !behind_since_.has_value()) {
      behind_since_ = std::chrono::steady_clock::now();
    }
    return false;
  }
  return !std::exchange(queued_, true);
}

void TurnStream::Send() {
  {
    const std::lock_guard lock(mutex_);
    queued_ = false;
  }
  Advance();
}

void TurnStream::Break() {
  broken_ = true;
  pending_.clear();
  text_ = {};
}

v1::GenerateResponse TurnStream::TakeText() {
  v1::GenerateResponse response = Render(text_);
  text_.text.clear();
  text_.token_ids.clear();
  text_.logprobs.clear();
  return response;
}

v1::GenerateResponse TurnStream::TakeFirst() {
  if (pending_.empty()) return TakeText();
  v1::GenerateResponse response = std::move(pending_.front());
  pending_.pop_front();
  return response;
}

void TurnStream::Advance() {
  absl::Status final_status;
  {
    const std::lock_guard lock(mutex_);
    if (writing_ || finishing_) return;
    if (!nothing_waits()) {
      writing_ = true;
      write_started_ = std::chrono::steady_clock::now();
      outgoing_ = Serialize(TakeFirst());
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
    if (!ok) Break();
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
    Break();
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
    Break();
    env_.metrics.OnRejected("CLIENT_STALLED");
    // The write outstanding keeps the call, and so the context, alive until it fails.
    context_.TryCancel();
  }
  CancelEngine(absl::CancelledError("the client took nothing for too long"));
}

}  // namespace concertina
