#include "server/rpc/admin_service.h"

#include <string>
#include <utility>

#include "server/engine/errors.h"
#include "server/metrics/process_metrics.h"
#include "server/rpc/calls/unary_call.h"

namespace concertina {
namespace {

constexpr int64_t kMaxTimeoutSeconds = 3600;

absl::StatusOr<std::chrono::milliseconds> ParseTimeout(const v1::DrainRequest& request) {
  const google::protobuf::Duration& timeout = request.timeout();
  if (timeout.seconds() < 0 || timeout.nanos() < 0 || timeout.nanos() > 999'999'999 ||
      timeout.seconds() > kMaxTimeoutSeconds ||
      (timeout.seconds() == kMaxTimeoutSeconds && timeout.nanos() > 0)) {
    return FieldError("timeout", "must be in [0, 1 h]");
  }
  return std::chrono::seconds(timeout.seconds()) +
         std::chrono::milliseconds(timeout.nanos() / 1'000'000);
}

}  // namespace

void AdminService::RenderLoad(v1::GetLoadResponse* load) const {
  const EngineGauges now = engine_.gauges();
  const EngineOptions& options = engine_.options();
  load->set_requests_running(now.requests_running);
  load->set_max_running(options.max_batch);
  load->set_requests_waiting(now.requests_waiting);
  load->set_max_waiting(options.max_queued_turns);
  load->set_sessions_active(now.sessions_active);
  load->set_sessions_busy(now.sessions_busy);
  load->set_sessions_evicted(now.sessions_evicted);
  load->set_max_sessions(options.max_sessions);
  load->set_pool_used_bytes(now.pool_used_bytes);
  load->set_pool_reserved_bytes(now.pool_reserved_bytes);
  load->set_pool_capacity_bytes(now.pool_capacity_bytes);
  load->set_transcript_bytes(now.transcript_bytes);
  load->set_workspace_bytes(now.workspace_bytes);
  load->set_weights_bytes(engine_.model().weight_bytes);
  load->set_image_cache_bytes(rpc_.image_store_bytes());
  load->set_resident_bytes(static_cast<int64_t>(ProcessResidentBytes()));
  load->set_draining(now.draining);
  load->set_calls_in_flight(rpc_.calls_in_flight());
}

grpc::ServerUnaryReactor* AdminService::GetLoad(Context* context, const Bytes* request,
                                                Bytes* response) {
  const auto handler = [this](const std::shared_ptr<UnaryCall>& call, const v1::GetLoadRequest&) {
    v1::GetLoadResponse load;
    RenderLoad(&load);
    call->Reply(load);
    return absl::OkStatus();
  };
  return UnaryCall::Start<v1::GetLoadRequest>(env_, "GetLoad", env_.limits.small_message_bytes,
                                              {context, request, response}, handler);
}

grpc::ServerUnaryReactor* AdminService::Drain(Context* context, const Bytes* request,
                                              Bytes* response) {
  const auto handler = [this](const std::shared_ptr<UnaryCall>& call,
                              const v1::DrainRequest& drain) -> absl::Status {
    const auto timeout = ParseTimeout(drain);
    if (!timeout.ok()) return timeout.status();
    stop_serving_();
    engine_.StartDraining();
    waiter_.Wait(call, std::chrono::steady_clock::now() + *timeout);
    return absl::OkStatus();
  };
  return UnaryCall::Start<v1::DrainRequest>(env_, "Drain", env_.limits.small_message_bytes,
                                            {context, request, response}, handler);
}

grpc::ServerUnaryReactor* AdminService::EvictSession(Context* context, const Bytes* request,
                                                     Bytes* response) {
  const auto handler = [this](const std::shared_ptr<UnaryCall>& call,
                              const v1::EvictSessionRequest& evict) -> absl::Status {
    auto id = call->call().RequiredSessionId(evict.session_id());
    if (!id.ok()) return id.status();
    engine_.EvictSession(*std::move(id), [call](absl::StatusOr<int64_t> freed_bytes) {
      if (!freed_bytes.ok()) return call->Finish(freed_bytes.status());
      v1::EvictSessionResponse evicted;
      evicted.set_freed_bytes(*freed_bytes);
      call->Reply(evicted);
    });
    return absl::OkStatus();
  };
  return UnaryCall::Start<v1::EvictSessionRequest>(
      env_, "EvictSession", env_.limits.small_message_bytes, {context, request, response}, handler);
}

}  // namespace concertina
