#include "models/chat/chatml_template.h"

#include "models/chat/prompt_builder.h"

namespace concertina {
namespace {

constexpr std::string_view kGenerationPrompt = "<|im_start|>assistant\n";

void AddImagesFirst(const ChatMessage& message, PromptBuilder* prompt) {
  for (const ChatPart& part : message.parts) {
    if (part.kind == ChatPart::Kind::kImage) prompt->Image(part.pin).Template("\n");
  }
  for (const ChatPart& part : message.parts) {
    if (part.kind == ChatPart::Kind::kText) prompt->User(part.text, part.pin);
  }
}

void AddInPlace(const ChatMessage& message, PromptBuilder* prompt) {
  for (const ChatPart& part : message.parts) {
    if (part.kind == ChatPart::Kind::kImage) {
      prompt->Template("<|vision_start|>").Image(part.pin).Template("<|vision_end|>");
    } else {
      prompt->User(part.text, part.pin);
    }
  }
}

// A role is a word of the template, but it comes from a caller: only the known ones are.
void AddRole(const std::string& role, PromptBuilder* prompt) {
  if (role == "system" || role == "user" || role == "assistant") {
    prompt->Template(role);
  } else {
    prompt->User(role);
  }
}

void AddMessage(const ChatMessage& message, ChatmlTemplate::Images images, PromptBuilder* prompt) {
  prompt->Template("<|im_start|>");
  AddRole(message.role, prompt);
  prompt->Template("\n");
  if (images == ChatmlTemplate::Images::kFirstWithNewline) {
    AddImagesFirst(message, prompt);
  } else {
    AddInPlace(message, prompt);
  }
  prompt->Template("<|im_end|>\n");
}

}  // namespace

std::vector<PromptPiece> ChatmlTemplate::Render(std::span<const ChatMessage> messages,
                                                bool add_generation_prompt) const {
  PromptBuilder prompt;
  if (!messages.empty() && messages[0].role != "system") {
    prompt.Template("<|im_start|>system\n")
        .Template(style_.default_system)
        .Template("<|im_end|>\n");
  }
  for (const ChatMessage& message : messages) AddMessage(message, style_.images, &prompt);
  if (add_generation_prompt) prompt.Template(kGenerationPrompt);
  return prompt.Take();
}

std::vector<PromptPiece> ChatmlTemplate::RenderNext(const ChatMessage& user,
                                                    bool answer_closed) const {
  PromptBuilder prompt;
  prompt.Template(answer_closed ? "\n" : "<|im_end|>\n");
  AddMessage(user, style_.images, &prompt);
  prompt.Template(kGenerationPrompt);
  return prompt.Take();
}

}  // namespace concertina
