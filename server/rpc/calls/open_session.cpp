// The two methods that make a session.

#include "server/rpc/parse/open_session.h"

#include <memory>
#include <string>
#include <utility>

#include "server/engine/errors.h"
#include "server/rpc/calls/methods.h"
#include "server/rpc/parse/checks.h"
#include "server/rpc/render/cache.h"

namespace concertina::calls {
namespace {

// Answers with the session that `Response` carries. If nobody is left to learn of it, it is closed:
// otherwise it would be open for ever.
template <typename Response>
Engine::Done<SessionInfo> ReplyWithNew(Engine& engine, std::shared_ptr<UnaryCall> call) {
  return [&engine, call = std::move(call)](absl::StatusOr<SessionInfo> session) {
    if (!session.ok()) return call->Finish(session.status());
    call->call().SetSessionId(session->session_id);
    if (call->cancelled()) {
      engine.CloseSession(session->session_id, [](absl::StatusOr<bool>) {});
      return call->Finish(call->call().CancelStatus());
    }
    Response response;
    Render(*session, response.mutable_session());
    call->Reply(response);
  };
}

}  // namespace

Reactor* OpenSession(RpcEnvironment& env, const RawCall& raw) {
  const auto handler = [&env](const std::shared_ptr<UnaryCall>& call,
                              const v1::OpenSessionRequest& request) -> absl::Status {
    auto id = call->call().SessionId(request.session_id());
    if (!id.ok()) return id.status();
    int64_t images = 0;
    for (const v1::Message& message : request.history()) images += CountImages(message.parts());
    const int64_t pixels = images * env.images.prepared_bytes();
    if (auto s = call->call().Hold(call->call().held_bytes() + pixels); !s.ok()) return s;
    auto params = ParseOpenSession(request, env.limits, env.engine.options(), env.images);
    if (!params.ok()) return params.status();
    int64_t held = 0;
    for (const HistoryMessage& message : params->history) held += HeldBytes(message.parts);
    // The message goes; less than before cannot be refused.
    call->call().Hold(held).IgnoreError();
    params->session_id = *std::move(id);
    const auto handle = env.engine.OpenSession(
        *std::move(params), ReplyWithNew<v1::OpenSessionResponse>(env.engine, call));
    call->WhenCancelled([handle](absl::Status status) { handle->Cancel(std::move(status)); });
    return absl::OkStatus();
  };
  return UnaryCall::Start<v1::OpenSessionRequest>(env, "OpenSession",
                                                  env.limits.large_message_bytes, raw, handler);
}

Reactor* ForkSession(RpcEnvironment& env, const RawCall& raw) {
  const auto handler = [&env](const std::shared_ptr<UnaryCall>& call,
                              const v1::ForkSessionRequest& request) -> absl::Status {
    auto id = call->call().RequiredSessionId(request.session_id());
    if (!id.ok()) return id.status();
    const std::string& new_id = request.new_session_id();
    if (!new_id.empty() && !IsUuidV4(new_id)) {
      return FieldError("new_session_id", "must be a UUIDv4 in lower case");
    }
    env.engine.ForkSession(*std::move(id), new_id,
                           ReplyWithNew<v1::ForkSessionResponse>(env.engine, call));
    return absl::OkStatus();
  };
  return UnaryCall::Start<v1::ForkSessionRequest>(env, "ForkSession",
                                                  env.limits.small_message_bytes, raw, handler);
}

}  // namespace concertina::calls
