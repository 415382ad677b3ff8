// Chat templates, rendered natively: one class per family instead of a Jinja interpreter. A
// template file that is not known is refused, never approximated.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace concertina {

struct ChatPart {
  enum class Kind { kText, kImage };  // kImage: one picture, in order
  Kind kind = Kind::kText;
  std::string text;
  bool pin = false;  // its tokens are asked for (TokenizedPrompt::pins)
};

struct ChatMessage {
  std::string role;  // system | user | assistant
  std::vector<ChatPart> parts;
};

// A rendered prompt in pieces.
struct PromptPiece {
  enum class Kind {
    kTemplate,  // text of the template, where special tokens count
    kUser,      // text of a message (of any role): special tokens in it are plain text
    kImage,     // the place of one picture; no text
  };
  Kind kind = Kind::kTemplate;
  std::string text;
  bool pin = false;  // of a ChatPart

  friend bool operator==(const PromptPiece&, const PromptPiece&) = default;
};

// Immutable and thread-safe.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;

  // "chatml-smollm", "llava-1.5" or "chatml-qwen2-vl".
  virtual std::string_view family() const = 0;

  // The whole conversation, as Hugging Face's apply_chat_template(conversation,
  // add_generation_prompt) does.
  virtual std::vector<PromptPiece> Render(std::span<const ChatMessage> messages,
                                          bool add_generation_prompt) const = 0;

  // What follows an assistant's answer that is already in the cache: it closes the answer and
  // renders the next user turn with its generation prompt. As text, Render(before) + answer_lead()
  // + answer + RenderNext(user) == Render(before + answer + user). `answer_closed`: the answer in
  // the cache already ends with end_of_turn().
  std::vector<PromptPiece> RenderNext(const ChatMessage& user) const {
    return RenderNext(user, false);
  }
  virtual std::vector<PromptPiece> RenderNext(const ChatMessage& user,
                                              bool answer_closed) const = 0;

  // What the rendered conversation has between the generation prompt and the answer's text, and the
  // model generates itself: " " for llava-1.5, else "". A transcript keeps the answer without it.
  virtual std::string_view answer_lead() const = 0;

  // The special token that closes an assistant's turn in the text: "<|im_end|>", "" for llava-1.5
  // (whose turn ends with the tokenizer's eos, which the template never renders).
  virtual std::string_view end_of_turn() const = 0;
};

// The family of a known template, recognised by its text; comments and layout inside its tags do
// not matter. FAILED_PRECONDITION naming the families otherwise.
absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplateFor(std::string_view template_text);

// NOT_FOUND naming the families when there is none of that name.
absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplateByFamily(std::string_view family);

}  // namespace concertina
