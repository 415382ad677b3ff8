#pragma once

#include <memory>

#include "models/chat/chat_template.h"

namespace concertina {

std::unique_ptr<ChatTemplate> MakeChatmlSmollm();
std::unique_ptr<ChatTemplate> MakeLlava15();

// Pictures of a message, then its texts, as the families here write them.
void AppendImages(const ChatMessage& message, std::string_view after_each,
                  std::vector<PromptPiece>* out);
void AppendTexts(const ChatMessage& message, std::string_view after_each,
                 std::vector<PromptPiece>* out);

}  // namespace concertina
