#include "tests/golden/conversation.h"

#include "absl/strings/str_cat.h"
#include "server/engine/prompt_builder.h"

namespace concertina::testing {
namespace {

absl::StatusOr<std::vector<ContentPart>> ToContent(const ChatMessage& message,
                                                   const PreparedImages& images, size_t* used) {
  std::vector<ContentPart> parts;
  for (const ChatPart& part : message.parts) {
    if (part.kind == ChatPart::Kind::kText) {
      parts.push_back({.text = part.text, .image = nullptr});
    } else if (*used < images.size()) {
      parts.push_back({.text = {}, .image = images[(*used)++]});
    } else {
      return absl::InvalidArgumentError("the messages have more pictures than the case");
    }
  }
  return parts;
}

std::string TextOf(const ChatMessage& message) {
  std::string text;
  for (const ChatPart& part : message.parts) text += part.text;
  return text;
}

}  // namespace

std::vector<ChatMessage> MessagesFromJson(const nlohmann::json& messages) {
  std::vector<ChatMessage> result;
  for (const nlohmann::json& json : messages) {
    ChatMessage message{.role = json.at("role"), .parts = {}};
    if (json.at("content").is_string()) {
      message.parts.push_back({ChatPart::Kind::kText, json.at("content")});
    } else {
      for (const nlohmann::json& part : json.at("content")) {
        const bool image = part.at("type") == "image";
        message.parts.push_back(
            image ? ChatPart{ChatPart::Kind::kImage, {}}
                  : ChatPart{ChatPart::Kind::kText, part.at("text").get<std::string>()});
      }
    }
    result.push_back(std::move(message));
  }
  return result;
}

std::string PromptText(const Model& model, const std::vector<PromptPiece>& pieces) {
  std::string text;
  for (const PromptPiece& piece : pieces) {
    if (piece.kind == PromptPiece::Kind::kImage) {
      model.tokenizer->AppendBytes(model.image_token, /*at_start=*/false, &text);
    } else {
      text += piece.text;
    }
  }
  return text;
}

absl::StatusOr<SessionConversation> ToSession(const std::vector<ChatMessage>& messages,
                                              const PreparedImages& images) {
  SessionConversation session;
  size_t begin = 0, used = 0;
  if (!messages.empty() && messages[0].role == "system") {
    session.system_prompt = TextOf(messages[0]);
    begin = 1;
  }
  if ((messages.size() - begin) % 2 == 0) {
    return absl::InvalidArgumentError("the last message is not the user's");
  }
  for (size_t i = begin; i < messages.size(); ++i) {
    const bool user = (i - begin) % 2 == 0;
    if (messages[i].role != (user ? "user" : "assistant")) {
      return absl::InvalidArgumentError(absl::StrCat("message ", i, " is out of order"));
    }
    auto parts = ToContent(messages[i], images, &used);
    if (!parts.ok()) return parts.status();
    if (i + 1 == messages.size()) {
      session.question = *std::move(parts);
    } else {
      session.history.push_back(
          {user ? HistoryMessage::Role::kUser : HistoryMessage::Role::kAssistant,
           *std::move(parts)});
    }
  }
  return session;
}

absl::StatusOr<std::vector<int32_t>> SessionIds(const Model& model,
                                                const SessionConversation& conversation) {
  auto segments = HistorySegments(model, conversation.system_prompt, conversation.history);
  if (!segments.ok()) return segments.status();
  auto last = segments->empty()
                  ? FirstPrompt(model, conversation.system_prompt, conversation.question)
                  : NextPrompt(model, conversation.question);
  if (!last.ok()) return last.status();
  segments->push_back(*std::move(last));
  std::vector<int32_t> ids;
  for (const Segment& segment : *segments) {
    ids.insert(ids.end(), segment.prompt.begin(), segment.prompt.end());
    ids.insert(ids.end(), segment.answer.begin(), segment.answer.end());
  }
  return ids;
}

}  // namespace concertina::testing
