#include "models/chat/llava_template.h"

#include "absl/strings/ascii.h"
#include "models/chat/prompt_builder.h"

namespace concertina {
namespace {

constexpr std::string_view kGenerationPrompt = "ASSISTANT:";

void AddMessage(const ChatMessage& message, PromptBuilder* prompt) {
  if (message.role == "user" || message.role == "assistant") {
    prompt->Template(absl::AsciiStrToUpper(message.role)).Template(": ");
  } else if (message.role != "system") {
    prompt->User(absl::AsciiStrToUpper(message.role)).Template(": ");
  }
  for (const ChatPart& part : message.parts) {
    if (part.kind == ChatPart::Kind::kImage) prompt->Image(part.pin).Template("\n");
  }
  for (const ChatPart& part : message.parts) {
    if (part.kind == ChatPart::Kind::kText) prompt->User(part.text, part.pin).Template(" ");
  }
}

}  // namespace

std::vector<PromptPiece> LlavaTemplate::Render(std::span<const ChatMessage> messages,
                                               bool add_generation_prompt) const {
  PromptBuilder prompt;
  for (const ChatMessage& message : messages) AddMessage(message, &prompt);
  if (add_generation_prompt) prompt.Template(kGenerationPrompt);
  return prompt.Take();
}

std::vector<PromptPiece> LlavaTemplate::RenderNext(const ChatMessage& user,
                                                   bool /*answer_closed*/) const {
  PromptBuilder prompt;
  prompt.Template(" ");
  AddMessage(user, &prompt);
  prompt.Template(kGenerationPrompt);
  return prompt.Take();
}

}  // namespace concertina
