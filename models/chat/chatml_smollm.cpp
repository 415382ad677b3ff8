#include "models/chat/families.h"

namespace concertina {
namespace {

// SmolLM2-Instruct: ChatML with a default system prompt. Pictures, which the language model itself
// does not know, stand at the start of their message, each on a line of its own (LLaVA's
// convention).
class ChatmlSmollm final : public ChatTemplate {
 public:
  std::string_view family() const override { return "chatml-smollm"; }
  std::string_view answer_prefix() const override { return ""; }
  std::string_view end_of_turn() const override { return "<|im_end|>"; }

  std::vector<PromptPiece> Render(std::span<const ChatMessage> messages,
                                  bool add_generation_prompt) const override {
    std::vector<PromptPiece> out;
    if (!messages.empty() && messages.front().role != "system") {
      out.push_back({PromptPiece::Kind::kTemplate,
                     "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by "
                     "Hugging Face<|im_end|>\n"});
    }
    for (const ChatMessage& message : messages) AppendMessage(message, &out);
    if (add_generation_prompt) AppendGenerationPrompt(&out);
    return out;
  }

  std::vector<PromptPiece> RenderNext(const ChatMessage& user) const override {
    std::vector<PromptPiece> out = {{PromptPiece::Kind::kTemplate, "<|im_end|>\n"}};
    AppendMessage(user, &out);
    AppendGenerationPrompt(&out);
    return out;
  }

 private:
  static void AppendMessage(const ChatMessage& message, std::vector<PromptPiece>* out) {
    out->push_back({PromptPiece::Kind::kTemplate, "<|im_start|>" + message.role + "\n"});
    AppendImages(message, "\n", out);
    AppendTexts(message, "", out);
    out->push_back({PromptPiece::Kind::kTemplate, "<|im_end|>\n"});
  }

  static void AppendGenerationPrompt(std::vector<PromptPiece>* out) {
    out->push_back({PromptPiece::Kind::kTemplate, "<|im_start|>assistant\n"});
  }
};

}  // namespace

std::unique_ptr<ChatTemplate> MakeChatmlSmollm() { return std::make_unique<ChatmlSmollm>(); }

}  // namespace concertina
