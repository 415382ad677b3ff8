// Methods about open sessions: get, list, update, close.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "concertina/v1/inference_service.pb.h"
#include "server/engine/errors.h"
#include "server/rpc/calls/methods.h"
#include "server/rpc/parse/cache_options.h"
#include "server/rpc/parse/checks.h"
#include "server/rpc/render/cache.h"

namespace concertina::calls {
namespace {

constexpr int32_t kDefaultPageSize = 100;
constexpr int32_t kMaxPageSize = 1000;

absl::StatusOr<SessionChanges> ParseChanges(const v1::UpdateSessionRequest& request) {
  if (request.update_mask().paths().empty()) {
    return FieldError("update_mask", "must name what to change");
  }
  SessionChanges changes;
  for (const std::string& path : request.update_mask().paths()) {
    if (path == "budget" && !changes.budget.has_value()) {
      auto budget = ParseBudget(request.budget());
      if (!budget.ok()) return budget.status();
      changes.budget = *budget;
    } else if (path == "truncate_turn" && !changes.truncate_turn.has_value()) {
      if (request.truncate_turn() < 0) {
        return FieldError("truncate_turn", "must not be negative");
      }
      changes.truncate_turn = request.truncate_turn();
    } else {
      return FieldError("update_mask", R"("budget" and "truncate_turn" are the paths, each once)");
    }
  }
  return changes;
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

// Answers with the session that `Response` carries.
template <typename Response>
Engine::Done<SessionInfo> ReplyWith(std::shared_ptr<UnaryCall> call) {
  return [call = std::move(call)](absl::StatusOr<SessionInfo> session) {
    if (!session.ok()) return call->Finish(session.status());
    Response response;
    Render(*session, response.mutable_session());
    call->Reply(response);
  };
}

}  // namespace

Reactor* GetSession(RpcEnvironment& env, const RawCall& raw) {
  const auto handler = [&env](const std::shared_ptr<UnaryCall>& call,
                              const v1::GetSessionRequest& request) -> absl::Status {
    auto id = call->call().RequiredSessionId(request.session_id());
    if (!id.ok()) return id.status();
    env.engine.GetSession(*std::move(id), ReplyWith<v1::GetSessionResponse>(call));
    return absl::OkStatus();
  };
  return UnaryCall::Start<v1::GetSessionRequest>(env, "GetSession", env.limits.small_message_bytes,
                                                 raw, handler);
}

Reactor* ListSessions(RpcEnvironment& env, const RawCall& raw) {
  const auto handler = [&env](const std::shared_ptr<UnaryCall>& call,
                              const v1::ListSessionsRequest& request) -> absl::Status {
    if (auto s = CheckRange("page_size", int64_t{request.page_size()}, 0, kMaxPageSize); !s.ok()) {
      return s;
    }
    if (!request.page_token().empty() && !IsUuidV4(request.page_token())) {
      return FieldError("page_token", "must be a next_page_token of this method");
    }
    const int32_t page_size = request.page_size() == 0 ? kDefaultPageSize : request.page_size();
    env.engine.ListSessions(request.page_token(), page_size + 1,
                            [call, page_size](absl::StatusOr<std::vector<SessionInfo>> sessions) {
                              if (!sessions.ok()) return call->Finish(sessions.status());
                              v1::ListSessionsResponse response;
                              RenderPage(*sessions, static_cast<size_t>(page_size), &response);
                              call->Reply(response);
                            });
    return absl::OkStatus();
  };
  return UnaryCall::Start<v1::ListSessionsRequest>(env, "ListSessions",
                                                   env.limits.small_message_bytes, raw, handler);
}

Reactor* UpdateSession(RpcEnvironment& env, const RawCall& raw) {
  const auto handler = [&env](const std::shared_ptr<UnaryCall>& call,
                              const v1::UpdateSessionRequest& request) -> absl::Status {
    auto id = call->call().RequiredSessionId(request.session_id());
    if (!id.ok()) return id.status();
    auto changes = ParseChanges(request);
    if (!changes.ok()) return changes.status();
    env.engine.UpdateSession(*std::move(id), *changes, ReplyWith<v1::UpdateSessionResponse>(call));
    return absl::OkStatus();
  };
  return UnaryCall::Start<v1::UpdateSessionRequest>(env, "UpdateSession",
                                                    env.limits.small_message_bytes, raw, handler);
}

Reactor* CloseSession(RpcEnvironment& env, const RawCall& raw) {
  const auto handler = [&env](const std::shared_ptr<UnaryCall>& call,
                              const v1::CloseSessionRequest& request) -> absl::Status {
    auto id = call->call().RequiredSessionId(request.session_id());
    if (!id.ok()) return id.status();
    env.engine.CloseSession(*std::move(id), [call](absl::StatusOr<bool> existed) {
      if (!existed.ok()) return call->Finish(existed.status());
      v1::CloseSessionResponse response;
      response.set_existed(*existed);
      call->Reply(response);
    });
    return absl::OkStatus();
  };
  return UnaryCall::Start<v1::CloseSessionRequest>(env, "CloseSession",
                                                   env.limits.small_message_bytes, raw, handler);
}

}  // namespace concertina::calls
