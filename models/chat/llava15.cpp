#include "models/chat/families.h"

namespace concertina {
namespace {

// LLaVA-1.5: Vicuna's "USER: ... ASSISTANT: ..." with a space after every text. A system message
// stands without a role. Answers are closed by the next "USER:"; </s> is not written.
class Llava15 final : public ChatTemplate {
 public:
  std::string_view family() const override { return "llava-1.5"; }
  std::string_view answer_prefix() const override { return " "; }
  std::string_view end_of_turn() const override { return ""; }

  std::vector<PromptPiece> Render(std::span<const ChatMessage> messages,
                                  bool add_generation_prompt) const override {
    std::vector<PromptPiece> out;
    for (const ChatMessage& message : messages) AppendMessage(message, &out);
    if (add_generation_prompt) out.push_back({PromptPiece::Kind::kTemplate, "ASSISTANT:"});
    return out;
  }

  std::vector<PromptPiece> RenderNext(const ChatMessage& user) const override {
    std::vector<PromptPiece> out = {{PromptPiece::Kind::kTemplate, " "}};
    AppendMessage(user, &out);
    out.push_back({PromptPiece::Kind::kTemplate, "ASSISTANT:"});
    return out;
  }

 private:
  static void AppendMessage(const ChatMessage& message, std::vector<PromptPiece>* out) {
    if (message.role == "user") out->push_back({PromptPiece::Kind::kTemplate, "USER: "});
    if (message.role == "assistant") out->push_back({PromptPiece::Kind::kTemplate, "ASSISTANT: "});
    AppendImages(message, "\n", out);
    AppendTexts(message, " ", out);
  }
};

}  // namespace

std::unique_ptr<ChatTemplate> MakeLlava15() { return std::make_unique<Llava15>(); }

}  // namespace concertina
