#include "models/tokenizer/tokenizer.h"

namespace concertina {

std::vector<TokenId> Tokenizer::Encode(std::string_view text, Special special) const {
  const Span span{text, special};
  return EncodeSpans({&span, 1}, Context::kStart);
}

std::vector<TokenId> Tokenizer::EncodeContinuation(std::string_view text, Special special) const {
  const Span span{text, special};
  return EncodeSpans({&span, 1}, Context::kAfterText);
}

std::string Tokenizer::Decode(std::span<const TokenId> ids, bool skip_special) const {
  std::string out;
  DecodeState state;
  for (TokenId id : ids) DecodeStep(id, skip_special, &state, &out);
  DecodeEnd(&state, &out);
  return out;
}

}  // namespace concertina
