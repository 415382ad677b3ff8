#include "models/chat/tokenized_prompt.h"

#include <limits>

#include "absl/strings/str_cat.h"

namespace concertina {

absl::StatusOr<TokenizedPrompt> TokenizePrompt(const Tokenizer& tokenizer,
                                               std::span<const PromptPiece> pieces,
                                               bool start_of_conversation, TokenId image_token,
                                               int image_tokens) {
  using Context = Tokenizer::Context;
  constexpr size_t kIdsMax = std::numeric_limits<int32_t>::max();
  constexpr int kImageTokensMax = 1 << 20;  // far above any model: bounds the allocation
  TokenizedPrompt prompt;
  if (start_of_conversation && tokenizer.adds_bos()) prompt.ids.push_back(*tokenizer.bos());
  Context context = start_of_conversation ? Context::kStart : Context::kAfterText;
  std::vector<Tokenizer::Span> text;
  const auto flush_text = [&] {
    const std::vector<TokenId> ids = tokenizer.EncodeSpans(text, context);
    prompt.ids.insert(prompt.ids.end(), ids.begin(), ids.end());
    text.clear();
  };
  for (const PromptPiece& piece : pieces) {
    if (piece.kind != PromptPiece::Kind::kImage) {
      const bool parse = piece.kind == PromptPiece::Kind::kTemplate;
      text.push_back({piece.text, parse ? Tokenizer::Special::kParse : Tokenizer::Special::kInert});
      continue;
    }
    flush_text();
    context = Context::kAfterSpecial;
    if (image_tokens < 1 || image_tokens > kImageTokensMax || image_token < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("a picture of ", image_tokens, " tokens with placeholder ", image_token));
    }
    if (prompt.ids.size() + static_cast<size_t>(image_tokens) > kIdsMax) {
      return absl::InvalidArgumentError("the prompt is too long");
    }
    prompt.image_spans.emplace_back(static_cast<int32_t>(prompt.ids.size()), image_tokens);
    prompt.ids.insert(prompt.ids.end(), static_cast<size_t>(image_tokens), image_token);
  }
  flush_text();
  if (prompt.ids.size() > kIdsMax) return absl::InvalidArgumentError("the prompt is too long");
  return prompt;
}

}  // namespace concertina
