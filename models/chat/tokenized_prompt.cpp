#include "models/chat/tokenized_prompt.h"

#include <limits>
#include <string>

#include "absl/strings/str_cat.h"

namespace concertina {
namespace {

// Joins spans that touch.
void AddPin(int32_t first, int32_t count, TokenizedPrompt* prompt) {
  auto& pins = prompt->pins;
  if (!pins.empty() && pins.back().first + pins.back().second == first) {
    pins.back().second += count;
  } else {
    pins.emplace_back(first, count);
  }
}

// Text between pictures, and which of its bytes are pinned.
struct TextRun {
  std::vector<Tokenizer::Span> spans;
  std::vector<std::pair<size_t, size_t>> pinned;  // [begin, end)
  size_t bytes = 0;

  void Add(const PromptPiece& piece) {
    const bool parse = piece.kind == PromptPiece::Kind::kTemplate;
    spans.push_back({piece.text, parse ? Tokenizer::Special::kParse : Tokenizer::Special::kInert});
    if (piece.pin) pinned.emplace_back(bytes, bytes + piece.text.size());
    bytes += piece.text.size();
  }
};

// The tokens whose bytes are pinned; all of them where bytes and tokens do not correspond, as where
// a tokenizer rewrites text before it cuts it.
void AddTextPins(const Tokenizer& tokenizer, const TextRun& run, std::span<const TokenId> ids,
                 bool at_start, TokenizedPrompt* prompt) {
  if (run.pinned.empty()) return;
  const auto first = static_cast<int32_t>(prompt->ids.size());
  std::vector<size_t> ends;
  std::string bytes;
  for (size_t i = 0; i < ids.size(); ++i) {
    tokenizer.AppendBytes(ids[i], at_start && i == 0, &bytes);
    ends.push_back(bytes.size());
  }
  if (bytes.size() != run.bytes) return AddPin(first, static_cast<int32_t>(ids.size()), prompt);
  size_t pin = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    const size_t begin = i == 0 ? 0 : ends[i - 1];
    while (pin < run.pinned.size() && run.pinned[pin].second <= begin) ++pin;
    if (pin < run.pinned.size() && run.pinned[pin].first < ends[i]) {
      AddPin(first + static_cast<int32_t>(i), 1, prompt);
    }
  }
}

}  // namespace

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
  TextRun text;
  const auto flush_text = [&] {
    const std::vector<TokenId> ids = tokenizer.EncodeSpans(text.spans, context);
    AddTextPins(tokenizer, text, ids, context != Context::kAfterText, &prompt);
    prompt.ids.insert(prompt.ids.end(), ids.begin(), ids.end());
    text = {};
  };
  for (const PromptPiece& piece : pieces) {
    if (piece.kind != PromptPiece::Kind::kImage) {
      text.Add(piece);
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
    const auto first = static_cast<int32_t>(prompt.ids.size());
    prompt.image_spans.emplace_back(first, image_tokens);
    if (piece.pin) AddPin(first, image_tokens, &prompt);
    prompt.ids.insert(prompt.ids.end(), static_cast<size_t>(image_tokens), image_token);
  }
  flush_text();
  if (prompt.ids.size() > kIdsMax) return absl::InvalidArgumentError("the prompt is too long");
  return prompt;
}

}  // namespace concertina
