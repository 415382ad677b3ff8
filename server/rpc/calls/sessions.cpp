// Methods about open sessions: get, list, update, close.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/errors.h"
#include "server/rpc/calls/methods.h"
#include "server/rpc/calls/unary_call.h"
#include "server/rpc/parse/cache_options.h"
#include "server/rpc/parse/checks.h"
#include "server/rpc/render/cache.h"

namespace concertina::calls {
namespace {

constexpr int32_t kDefaultPageSize = 100;
constexpr int32_t kMaxPageSize = 1000;

// The id of an existing session: unlike OpenSession's it must be in the body.
absl::StatusOr<std::string> RequiredSessionId(UnaryCall& call, const std::string& in_body) {
  if (auto status = CheckSessionId(in_body); !status.ok()) return status;
  return call.call().SessionId(in_body);
}

absl::Status CheckMask(const v1::UpdateSessionRequest& request) {
  if (request.update_mask().paths().empty()) {
    return FieldError("update_mask", "must name what to change");
  }
  for (const std::string& path : request.update_mask().paths()) {
    if (path != "budget") return FieldError("update_mask", "\"budget\" is the only path");
  }
  return absl::OkStatus();
}

// Sends one page; the engine was asked for one session more, to know whether another page follows.
void RenderPage(const std::vector<SessionInfo>& sessions, size_t page_size,
                v1::ListSessionsResponse* response) {
  for (size_t i = 0; i < sessions.size() && i < page_size; ++i) {
    Render(sessions[i], response->add_sessions());
  }
  if (sessions.size() > page_size)
    response->set_next_page_token(sessions[page_size - 1].session_id);
}

}  // namespace

Reactor* GetSession(RpcEnvironment& env, Context* context, const v1::GetSessionRequest* request,
                    v1::GetSessionResponse* response) {
  const auto body = [&](const std::shared_ptr<UnaryCall>& call) -> absl::Status {
    auto id = RequiredSessionId(*call, request->session_id());
    if (!id.ok()) return id.status();
    env.engine.GetSession(*std::move(id), [call, response](absl::StatusOr<SessionInfo> session) {
      if (session.ok()) Render(*session, response->mutable_session());
      call->Finish(session.status());
    });
    return absl::OkStatus();
  };
  return UnaryCall::Start(env, "GetSession", context, request->ByteSizeLong(),
                          env.limits.small_message_bytes, body);
}

Reactor* ListSessions(RpcEnvironment& env, Context* context, const v1::ListSessionsRequest* request,
                      v1::ListSessionsResponse* response) {
  const auto body = [&](const std::shared_ptr<UnaryCall>& call) -> absl::Status {
    if (auto s = CheckRange("page_size", int64_t{request->page_size()}, 0, kMaxPageSize); !s.ok()) {
      return s;
    }
    if (!request->page_token().empty() && !IsUuidV4(request->page_token())) {
      return FieldError("page_token", "must be a next_page_token of this method");
    }
    const int32_t page_size = request->page_size() == 0 ? kDefaultPageSize : request->page_size();
    env.engine.ListSessions(
        request->page_token(), page_size + 1,
        [call, response, page_size](absl::StatusOr<std::vector<SessionInfo>> sessions) {
          if (sessions.ok()) RenderPage(*sessions, static_cast<size_t>(page_size), response);
          call->Finish(sessions.status());
        });
    return absl::OkStatus();
  };
  return UnaryCall::Start(env, "ListSessions", context, request->ByteSizeLong(),
                          env.limits.small_message_bytes, body);
}

Reactor* UpdateSession(RpcEnvironment& env, Context* context,
                       const v1::UpdateSessionRequest* request,
                       v1::UpdateSessionResponse* response) {
  const auto body = [&](const std::shared_ptr<UnaryCall>& call) -> absl::Status {
    auto id = RequiredSessionId(*call, request->session_id());
    if (!id.ok()) return id.status();
    if (auto status = CheckMask(*request); !status.ok()) return status;
    auto budget = ParseBudget(request->budget());
    if (!budget.ok()) return budget.status();
    env.engine.UpdateSession(*std::move(id), {.budget = *budget},
                             [call, response](absl::StatusOr<SessionInfo> session) {
                               if (session.ok()) Render(*session, response->mutable_session());
                               call->Finish(session.status());
                             });
    return absl::OkStatus();
  };
  return UnaryCall::Start(env, "UpdateSession", context, request->ByteSizeLong(),
                          env.limits.small_message_bytes, body);
}

Reactor* CloseSession(RpcEnvironment& env, Context* context, const v1::CloseSessionRequest* request,
                      v1::CloseSessionResponse* response) {
  const auto body = [&](const std::shared_ptr<UnaryCall>& call) -> absl::Status {
    auto id = RequiredSessionId(*call, request->session_id());
    if (!id.ok()) return id.status();
    env.engine.CloseSession(*std::move(id), [call, response](absl::StatusOr<bool> existed) {
      if (existed.ok()) response->set_existed(*existed);
      call->Finish(existed.status());
    });
    return absl::OkStatus();
  };
  return UnaryCall::Start(env, "CloseSession", context, request->ByteSizeLong(),
                          env.limits.small_message_bytes, body);
}

}  // namespace concertina::calls
