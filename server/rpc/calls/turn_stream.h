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

namespace concertina {

// One Generate call: the engine's events on their way to the client. One write is outstanding at a
// time; what comes meanwhile waits in a queue that cannot grow beyond one message of each kind,
// because deltas and progress are joined. Nothing, not even initial metadata, is sent before the
// turn is admitted, so that a refusal is trailers-only and may be retried. Cancel and deadline
// reach the engine at once; the call ends when the engine has stopped.
class TurnStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                         public TurnSink,
                         public Stallable {
 public:
  // What the service method returns.
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(RpcEnvironment& env,
                                                           grpc::CallbackServerContext* context,
                                                           const grpc::ByteBuffer* request);

  void OnEvent(TurnEvent event) override;
  void OnFinished(absl::Status status) override;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  void CheckStall(std::chrono::steady_clock::time_point now) override;

 private:
  using TimePoint = std::chrono::steady_clock::time_point;

  TurnStream(RpcEnvironment& env, grpc::CallbackServerContext& context)
      : env_(env), call_(env, "Generate", context), context_(context) {}

  absl::Status Begin(const grpc::ByteBuffer* bytes);
  // Writes or finishes if there is something to do and nothing under way.
  void Advance();
  void CancelEngine(absl::Status status);

  RpcEnvironment& env_;
  Call call_;
  grpc::CallbackServerContext& context_;
  std::shared_ptr<TurnStream> self_;

  std::mutex mutex_;
  std::deque<v1::GenerateResponse> pending_;
  grpc::ByteBuffer outgoing_;  // must not move while it is being written
  bool writing_ = false;
  bool broken_ = false;     // the client takes nothing any more
  bool finishing_ = false;  // Finish was called: nothing may follow
  TimePoint write_started_;
  std::optional<TimePoint> behind_since_;  // something waits behind the outstanding write
  std::optional<absl::Status> finished_;
  std::optional<absl::Status> cancelled_;
  std::shared_ptr<Engine::Handle> handle_;
};

}  // namespace concertina
