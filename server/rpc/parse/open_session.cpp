#include "server/rpc/parse/open_session.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/errors.h"
#include "server/rpc/parse/cache_options.h"
#include "server/rpc/parse/checks.h"

namespace concertina {
namespace {

using Role = HistoryMessage::Role;
using History = google::protobuf::RepeatedPtrField<v1::Message>;

absl::StatusOr<Role> ParseRole(v1::Role role, const std::string& field) {
  switch (role) {
    case v1::ROLE_SYSTEM:
      return Role::kSystem;
    case v1::ROLE_USER:
      return Role::kUser;
    case v1::ROLE_ASSISTANT:
      return Role::kAssistant;
    default:
      return FieldError(field + ".role", "must be SYSTEM, USER or ASSISTANT");
  }
}

absl::Status CheckMessage(const v1::Message& message, Role role, const std::string& field,
                          const RpcLimits& limits) {
  if (auto s = CheckParts(message.parts(), field + ".parts", limits); !s.ok()) return s;
  if (role == Role::kUser) return absl::OkStatus();
  for (int i = 0; i < message.parts_size(); ++i) {
    if (message.parts(i).pin()) {
      return FieldError(Indexed(field + ".parts", i) + ".pin",
                        role == Role::kSystem ? "policy.pin_system_prompt pins the system prompt"
                                              : "only what the user says can be pinned");
    }
    if (message.parts(i).has_image()) {
      return FieldError(Indexed(field + ".parts", i), "only the user sends pictures");
    }
  }
  return absl::OkStatus();
}

// The roles of a well-formed history: an optional system message, then user and assistant in turn.
absl::StatusOr<std::vector<Role>> CheckHistory(const History& history, const RpcLimits& limits) {
  if (history.size() > limits.max_messages) {
    return FieldError("history",
                      absl::StrCat("must not have more than ", limits.max_messages, " messages"));
  }
  std::vector<Role> roles;
  for (int i = 0; i < history.size(); ++i) {
    const std::string field = Indexed("history", i);
    auto role = ParseRole(history[i].role(), field);
    if (!role.ok()) return role.status();
    if (*role == Role::kSystem && i > 0) {
      return FieldError(field + ".role", "SYSTEM only comes first");
    }
    const bool users_turn = roles.empty() || roles.back() != Role::kUser;
    if (*role != Role::kSystem && (*role == Role::kUser) != users_turn) {
      return FieldError(field + ".role", "USER and ASSISTANT must take turns, USER first");
    }
    if (auto s = CheckMessage(history[i], *role, field, limits); !s.ok()) return s;
    roles.push_back(*role);
  }
  if (!roles.empty() && roles.back() != Role::kAssistant) {
    return FieldError("history", "must end with the assistant");
  }
  return roles;
}

}  // namespace

absl::StatusOr<OpenSessionParams> ParseOpenSession(const v1::OpenSessionRequest& request,
                                                   const RpcLimits& limits,
                                                   const EngineOptions& options,
                                                   ImageResolver& images) {
  OpenSessionParams params;
  if (!request.session_id().empty()) {
    if (auto s = CheckSessionId(request.session_id()); !s.ok()) return s;
  }
  params.session_id = request.session_id();
  auto cache =
      ParseCacheOptions(request.has_policy() ? &request.policy() : nullptr,
                        request.has_budget() ? &request.budget() : nullptr, options.default_policy);
  if (!cache.ok()) return cache.status();
  params.cache = *std::move(cache);
  const auto roles = CheckHistory(request.history(), limits);
  if (!roles.ok()) return roles.status();
  if (!request.system_prompt().empty() && !roles->empty() && roles->front() == Role::kSystem) {
    return FieldError("system_prompt", "the history has a system message already");
  }
  const bool system_message = !roles->empty() && roles->front() == Role::kSystem;
  if (params.cache.pin_system_prompt && request.system_prompt().empty() && !system_message) {
    return FieldError("policy.pin_system_prompt", "there is no system prompt");
  }
  params.system_prompt = request.system_prompt();
  for (int i = 0; i < request.history_size(); ++i) {
    auto parts = ResolveParts(request.history(i).parts(), Indexed("history", i) + ".parts", images);
    if (!parts.ok()) return parts.status();
    params.history.push_back({(*roles)[static_cast<size_t>(i)], *std::move(parts)});
  }
  return params;
}

}  // namespace concertina
