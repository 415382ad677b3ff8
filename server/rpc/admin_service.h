#pragma once

#include "concertina/v1/admin_service.grpc.pb.h"
#include "server/rpc/calls/drain_waiter.h"
#include "server/rpc/environment.h"
#include "server/rpc/rpc_server.h"

namespace concertina {

using RawAdminService =
    v1::AdminService::WithRawCallbackMethod_GetLoad<v1::AdminService::WithRawCallbackMethod_Drain<
        v1::AdminService::WithRawCallbackMethod_EvictSession<v1::AdminService::Service>>>;

// concertina.v1.AdminService. What it was made from must outlive it.
class AdminService final : public RawAdminService {
 public:
  AdminService(CallEnvironment& env, Engine& engine, RpcServer& rpc, DrainWaiter& waiter,
               std::function<void()> stop_serving)
      : env_(env),
        engine_(engine),
        rpc_(rpc),
        waiter_(waiter),
        stop_serving_(std::move(stop_serving)) {}

  using Context = grpc::CallbackServerContext;
  using Bytes = grpc::ByteBuffer;

  grpc::ServerUnaryReactor* GetLoad(Context* context, const Bytes* request,
                                    Bytes* response) override;
  grpc::ServerUnaryReactor* Drain(Context* context, const Bytes* request, Bytes* response) override;
  grpc::ServerUnaryReactor* EvictSession(Context* context, const Bytes* request,
                                         Bytes* response) override;

 private:
  void RenderLoad(v1::GetLoadResponse* load) const;

  CallEnvironment& env_;
  Engine& engine_;
  RpcServer& rpc_;
  DrainWaiter& waiter_;
  const std::function<void()> stop_serving_;
};

}  // namespace concertina
