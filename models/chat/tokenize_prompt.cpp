#include "models/chat/tokenize_prompt.h"

namespace concertina {

absl::StatusOr<TokenizedPrompt> TokenizePrompt(const Tokenizer& tokenizer,
                                               std::span<const PromptPiece> pieces,
                                               bool start_of_conversation, TokenId image_token,
                                               int32_t image_tokens) {
  TokenizedPrompt prompt;
  if (start_of_conversation && tokenizer.adds_bos() && tokenizer.bos()) {
    prompt.ids.push_back(*tokenizer.bos());
  }
  auto context =
      start_of_conversation ? Tokenizer::Context::kStart : Tokenizer::Context::kAfterText;
  std::vector<Tokenizer::Span> spans;
  const auto flush = [&] {
    const auto ids = tokenizer.EncodeSpans(spans, context);
    prompt.ids.insert(prompt.ids.end(), ids.begin(), ids.end());
    spans.clear();
  };
  for (const PromptPiece& piece : pieces) {
    if (piece.kind != PromptPiece::Kind::kImage) {
      const bool inert = piece.kind == PromptPiece::Kind::kUser;
      spans.push_back(
          {piece.text, inert ? Tokenizer::Special::kInert : Tokenizer::Special::kParse});
      continue;
    }
    if (image_tokens <= 0) return absl::FailedPreconditionError("the model takes no pictures");
    flush();
    prompt.image_spans.emplace_back(static_cast<int32_t>(prompt.ids.size()), image_tokens);
    prompt.ids.insert(prompt.ids.end(), static_cast<size_t>(image_tokens), image_token);
    context = Tokenizer::Context::kAfterSpecial;
  }
  flush();
  return prompt;
}

}  // namespace concertina
