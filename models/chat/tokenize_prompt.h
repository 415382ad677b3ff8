#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "models/chat/chat_template.h"
#include "models/tokenizer/tokenizer.h"

namespace concertina {

struct TokenizedPrompt {
  std::vector<TokenId> ids;
  std::vector<std::pair<int32_t, int32_t>> image_spans;  // (first, count) in ids, in order
};

// Token ids of a rendered prompt. Neighbouring texts are joined before BPE, as the reference
// tokenises the whole rendered string; special tokens are parsed in the template's text only. Each
// picture becomes `image_tokens` copies of `image_token`. start_of_conversation: the prompt opens
// the conversation (BOS is added if the tokenizer has it); otherwise it follows text that is in the
// cache. FAILED_PRECONDITION: a picture for a model without eyes (image_tokens 0).
absl::StatusOr<TokenizedPrompt> TokenizePrompt(const Tokenizer& tokenizer,
                                               std::span<const PromptPiece> pieces,
                                               bool start_of_conversation, TokenId image_token,
                                               int32_t image_tokens);

}  // namespace concertina
