#include "server/engine/prompt_builder.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "models/chat/tokenized_prompt.h"
#include "server/engine/errors.h"

namespace concertina {
namespace {

ChatMessage UserMessage(const std::vector<ContentPart>& parts) {
  ChatMessage message{.role = "user", .parts = {}};
  for (const ContentPart& part : parts) {
    if (part.image) {
      message.parts.push_back({ChatPart::Kind::kImage, {}, part.pin});
    } else {
      message.parts.push_back({ChatPart::Kind::kText, part.text, part.pin});
    }
  }
  return message;
}

absl::StatusOr<Segment> Tokenised(const Model& model, std::span<const PromptPiece> pieces,
                                  bool start, const std::vector<ContentPart>& parts) {
  auto prompt =
      TokenizePrompt(*model.tokenizer, pieces, start, model.image_token, model.image_tokens);
  if (!prompt.ok()) return prompt.status();
  Segment segment;
  segment.prompt = std::move(prompt->ids);
  for (const auto& [begin, count] : prompt->image_spans) {
    segment.image_spans.emplace_back(begin, count);
  }
  for (const auto& [begin, count] : prompt->pins) segment.pins.push_back({begin, count});
  for (const ContentPart& part : parts) {
    if (part.image) segment.images.push_back(part.image);
  }
  return segment;
}

absl::Status OutOfOrder(size_t index, std::string_view what) {
  return FieldError(absl::StrCat("history[", index, "].role"), what);
}

}  // namespace

std::string TextOf(const HistoryMessage& message) {
  std::string text;
  for (const ContentPart& part : message.parts) text += part.text;
  return text;
}

absl::StatusOr<Segment> FirstPrompt(const Model& model, const std::string& system_prompt,
                                    const std::vector<ContentPart>& parts, bool pin_system_prompt) {
  std::vector<ChatMessage> messages;
  if (!system_prompt.empty()) {
    messages.push_back({"system", {{ChatPart::Kind::kText, system_prompt, pin_system_prompt}}});
  }
  messages.push_back(UserMessage(parts));
  return Tokenised(model, model.chat->Render(messages, /*add_generation_prompt=*/true), true,
                   parts);
}

absl::StatusOr<Segment> NextPrompt(const Model& model, const std::vector<ContentPart>& parts) {
  return Tokenised(model, model.chat->RenderNext(UserMessage(parts)), false, parts);
}

absl::StatusOr<std::vector<Segment>> HistorySegments(const Model& model,
                                                     const std::string& system_prompt,
                                                     const std::vector<HistoryMessage>& history,
                                                     bool pin_system_prompt) {
  using Role = HistoryMessage::Role;
  std::vector<Segment> segments;
  std::string system = system_prompt;
  size_t i = 0;
  if (!history.empty() && history[0].role == Role::kSystem) {
    if (!system_prompt.empty()) return OutOfOrder(0, "system_prompt is already given");
    system = TextOf(history[0]);
    i = 1;
  }
  for (; i < history.size(); i += 2) {
    if (history[i].role != Role::kUser) return OutOfOrder(i, "a user message is expected here");
    if (i + 1 == history.size() || history[i + 1].role != Role::kAssistant) {
      return OutOfOrder(i, "every user message must be followed by the assistant's");
    }
    const auto& parts = history[i].parts;
    auto segment = segments.empty() ? FirstPrompt(model, system, parts, pin_system_prompt)
                                    : NextPrompt(model, parts);
    if (!segment.ok()) return segment.status();
    // With what the model itself would have put before its first word.
    segment->answer = model.tokenizer->EncodeContinuation(
        std::string(model.chat->answer_lead()) + TextOf(history[i + 1]),
        Tokenizer::Special::kInert);
    segment->room = static_cast<int64_t>(segment->prompt.size() + segment->answer.size());
    segments.push_back(*std::move(segment));
  }
  return segments;
}

}  // namespace concertina
