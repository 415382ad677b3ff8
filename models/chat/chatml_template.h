#pragma once

#include <string>

#include "models/chat/chat_template.h"

namespace concertina {

// ChatML: "<|im_start|>role\n...<|im_end|>\n" per message, with a system message put in front when
// the first one is another.
class ChatmlTemplate final : public ChatTemplate {
 public:
  // How a message shows its pictures.
  enum class Images {
    kFirstWithNewline,  // all before the text, each followed by a newline (the bundled adapter's
                        // training)
    kInPlaceFramed,     // where they stand, between <|vision_start|> and <|vision_end|> (Qwen2-VL)
  };
  struct Style {
    std::string_view family;  // static text
    std::string_view default_system;
    Images images;
  };
  explicit ChatmlTemplate(const Style& style) : style_(style) {}

  std::string_view family() const override { return style_.family; }
  std::string_view answer_lead() const override { return ""; }
  std::string_view end_of_turn() const override { return "<|im_end|>"; }
  std::vector<PromptPiece> Render(std::span<const ChatMessage> messages,
                                  bool add_generation_prompt) const override;
  using ChatTemplate::RenderNext;
  std::vector<PromptPiece> RenderNext(const ChatMessage& user, bool answer_closed) const override;

 private:
  Style style_;
};

}  // namespace concertina
