// Token ids of a rendered prompt, with the places of its pictures.
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
  // (first id, number of ids) of each picture, ascending. These say where pictures are: `ids` holds
  // the placeholder token there, but a placeholder elsewhere means nothing.
  std::vector<std::pair<int32_t, int32_t>> image_spans;
  // Of the pieces that are pinned, likewise, ascending and apart from each other. A token that
  // begins or ends in such a piece counts as a part of it.
  std::vector<std::pair<int32_t, int32_t>> pins;
};

// Text pieces between pictures are joined before BPE, as the reference does; special tokens count
// in template text only, so that no message can forge a turn or a picture. Each picture becomes
// `image_tokens` times `image_token`. With `start_of_conversation` a BOS comes first if the
// tokenizer adds one; otherwise the pieces continue text of the same prompt. INVALID_ARGUMENT for a
// picture with image_tokens outside 1 .. 2^20 or an image_token that is negative, and for prompts
// beyond 2^31 - 1 tokens.
absl::StatusOr<TokenizedPrompt> TokenizePrompt(const Tokenizer& tokenizer,
                                               std::span<const PromptPiece> pieces,
                                               bool start_of_conversation, TokenId image_token,
                                               int image_tokens);

}  // namespace concertina
