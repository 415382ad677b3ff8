#pragma once

#include "models/chat/chat_template.h"

namespace concertina {

// LLaVA-1.5 (Vicuna v1.1): "USER: <image>\ntext ASSISTANT:". A message is its role in capitals and
// ": " (nothing for system), its pictures each followed by a newline, then its texts each followed
// by a space.
class LlavaTemplate final : public ChatTemplate {
 public:
  std::string_view family() const override { return "llava-1.5"; }
  std::string_view answer_lead() const override { return " "; }
  std::string_view end_of_turn() const override { return ""; }
  std::vector<PromptPiece> Render(std::span<const ChatMessage> messages,
                                  bool add_generation_prompt) const override;
  using ChatTemplate::RenderNext;
  std::vector<PromptPiece> RenderNext(const ChatMessage& user, bool answer_closed) const override;
};

}  // namespace concertina
