#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>

#include "concertina/v1/inference_service.pb.h"
#include "grpcpp/support/server_callback.h"
#include "server/engine/engine.h"
#include "server/rpc/calls/call.h"
#include "server/rpc/outbox.h"

namespace concertina {

// One Generate call: the engine's events on their way to the client. One write is outstanding at a
// time; what comes meanwhile waits in a queue that cannot grow beyond one message of each kind,
// because deltas and progress are joined. The engine thread only leaves its events; the outbox's
// thread, or the one that reports a write's end, takes them from there. Nothing, not even initial
// metadata, is sent before the turn is admitted, so that a refusal is trailers-only and may be
// retried. Cancel and deadline reach the engine at once; the call ends when the engine has stopped.
class TurnStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                         public TurnSink,
                         public Stallable,
                         public Sender {
 public:
  // What the service method returns.
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(RpcEnvironment& env,
                                                           grpc::CallbackServerContext* context,
                                                           const grpc::ByteBuffer* request);

  void OnEvent(TurnEvent event) override;
  void OnDelta(const DeltaEvent& delta) override;
  void OnFinished(absl::Status status) override;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  void CheckStall(std::chrono::steady_clock::time_point now) override;
  void Send() override;

 private:
  using TimePoint = std::chrono::steady_clock::time_point;

  TurnStream(RpcEnvironment& env, grpc::CallbackServerContext& context)
      : env_(env), call_(env, "Generate", context), context_(context) {}

  absl::Status Begin(const grpc::ByteBuffer* bytes);
  // Ends the call here and now: the engine has not heard of it.
  void Refuse(const absl::Status& status);
  // With mutex_ held, after something was added: true if the outbox must be told.
  bool Queue();
  // With mutex_ held: the next message.
  v1::GenerateResponse TakeFirst();
  v1::GenerateResponse TakeText();
  bool text_waits() const { return !text_.text.empty() || !text_.token_ids.empty(); }
  bool nothing_waits() const { return pending_.empty() && !text_waits(); }
  // With mutex_ held: the client takes nothing any more, what waits goes.
  void Break();
  // Writes or finishes if there is something to do and nothing under way.
  void Advance();
  void CancelEngine(absl::Status status);

  RpcEnvironment& env_;
  Call call_;
  grpc::CallbackServerContext& context_;
  std::shared_ptr<TurnStream> self_;

  std::mutex mutex_;
  std::deque<v1::GenerateResponse> pending_;
  DeltaEvent text_;            // behind pending_; keeps its memory from step to step
  bool queued_ = false;        // in the outbox
  grpc::ByteBuffer outgoing_;  // must not move while it is being written
  bool writing_ = false;
  bool broken_ = false;     // see Break()
  bool finishing_ = false;  // Finish was called: nothing may follow
  TimePoint write_started_;
  std::optional<TimePoint> behind_since_;  // something waits behind the outstanding write
  std::optional<absl::Status> finished_;
  std::optional<absl::Status> cancelled_;
  std::shared_ptr<Engine::Handle> handle_;
};

}  // namespace concertina
