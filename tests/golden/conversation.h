#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/bundle/model.h"
#include "models/chat/chat_template.h"
#include "nlohmann/json.hpp"
#include "server/engine/requests.h"

namespace concertina::testing {

using PreparedImages = std::vector<std::shared_ptr<const PreparedImage>>;

// Messages of a case: the content is a string, or a list of {"type": "text" or "image"}.
std::vector<ChatMessage> MessagesFromJson(const nlohmann::json& messages);

// A rendered prompt as the reference writes it, one image token per picture.
std::string PromptText(const Model& model, const std::vector<PromptPiece>& pieces);

// A conversation as a session has it: what was said before, and the question to be answered.
struct SessionConversation {
  std::string system_prompt;
  std::vector<HistoryMessage> history;
  std::vector<ContentPart> question;
};

// INVALID_ARGUMENT when the roles are not (system)? (user assistant)* user or pictures lack.
absl::StatusOr<SessionConversation> ToSession(const std::vector<ChatMessage>& messages,
                                              const PreparedImages& images);

// The tokens a session's cache has seen when it begins to answer.
absl::StatusOr<std::vector<int32_t>> SessionIds(const Model& model,
                                                const SessionConversation& conversation);

}  // namespace concertina::testing
