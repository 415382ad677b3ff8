#include "models/chat/families.h"

namespace concertina {

void AppendImages(const ChatMessage& message, std::string_view after_each,
                  std::vector<PromptPiece>* out) {
  for (const ChatPart& part : message.parts) {
    if (part.kind != ChatPart::Kind::kImage) continue;
    out->push_back({PromptPiece::Kind::kImage, {}});
    out->push_back({PromptPiece::Kind::kTemplate, std::string(after_each)});
  }
}

void AppendTexts(const ChatMessage& message, std::string_view after_each,
                 std::vector<PromptPiece>* out) {
  for (const ChatPart& part : message.parts) {
    if (part.kind != ChatPart::Kind::kText) continue;
    out->push_back({PromptPiece::Kind::kUser, part.text});
    if (!after_each.empty()) {
      out->push_back({PromptPiece::Kind::kTemplate, std::string(after_each)});
    }
  }
}

}  // namespace concertina
