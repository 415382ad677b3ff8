// Conversations as prompts, rendered natively per model family; Jinja files are recognised, not
// run.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace concertina {

struct ChatPart {
  enum class Kind { kText, kImage };
  Kind kind = Kind::kText;
  std::string text;  // empty for a picture
};

struct ChatMessage {
  std::string role;  // "system", "user" or "assistant"
  std::vector<ChatPart> parts;
};

// A stretch of a rendered prompt: the template's own text (special tokens in it count), text from
// people or the model (inert: a "<|im_end|>" in it is ten characters), or the place of one picture.
struct PromptPiece {
  enum class Kind { kTemplate, kUser, kImage };
  Kind kind = Kind::kTemplate;
  std::string text;  // empty for a picture
};

// One family's way of writing a conversation. Immutable, thread-safe.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;

  virtual std::string_view family() const = 0;

  // The whole conversation, as Hugging Face's apply_chat_template renders it.
  virtual std::vector<PromptPiece> Render(std::span<const ChatMessage> messages,
                                          bool add_generation_prompt) const = 0;

  // What follows an answer that is in the cache already: closes it and renders the next user
  // message with a generation prompt. As text, Render(all) = Render(before) + answer_prefix() +
  // answer + RenderNext(user).
  virtual std::vector<PromptPiece> RenderNext(const ChatMessage& user) const = 0;

  // What stands between the generation prompt and the words of an answer (the model generates it).
  virtual std::string_view answer_prefix() const = 0;

  // The text that closes an answer; empty if the family has none.
  virtual std::string_view end_of_turn() const = 0;
};

// The family of a known template file (white space aside). FAILED_PRECONDITION, naming the
// families, for any other text: rendering it almost right would quietly harm every answer.
absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplateFor(std::string_view template_text);

// "chatml-smollm" or "llava-1.5". INVALID_ARGUMENT for other names.
absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplateByFamily(std::string_view family);

}  // namespace concertina
