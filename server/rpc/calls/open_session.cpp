#include "server/rpc/parse/open_session.h"

#include <memory>
#include <string>
#include <utility>

#include "server/rpc/calls/methods.h"
#include "server/rpc/calls/unary_call.h"
#include "server/rpc/render/cache.h"

namespace concertina::calls {

Reactor* OpenSession(RpcEnvironment& env, Context* context, const v1::OpenSessionRequest* request,
                     v1::OpenSessionResponse* response) {
  const auto body = [&](const std::shared_ptr<UnaryCall>& call) -> absl::Status {
    auto id = call->call().SessionId(request->session_id());
    if (!id.ok()) return id.status();
    auto params = ParseOpenSession(*request, env.limits, env.engine.options(), env.images);
    if (!params.ok()) return params.status();
    params->session_id = *std::move(id);
    env.engine.OpenSession(*std::move(params), [call,
                                                response](absl::StatusOr<SessionInfo> session) {
      if (session.ok() && call->cancelled()) {
        // Nobody will learn of this session: without this it would be open for ever.
        call->call().env().engine.CloseSession(session->session_id, [](absl::StatusOr<bool>) {});
        return call->Finish(absl::CancelledError("cancelled by the client"));
      }
      if (session.ok()) Render(*session, response->mutable_session());
      call->Finish(session.status());
    });
    return absl::OkStatus();
  };
  return UnaryCall::Start(env, "OpenSession", context, request->ByteSizeLong(),
                          env.limits.large_message_bytes, body);
}

}  // namespace concertina::calls
