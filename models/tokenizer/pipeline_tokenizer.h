// The tokenizer both file formats are turned into: added tokens, normalizer, pre-tokenizer, model,
// decoder.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/tokenizer/added_tokens.h"
#include "models/tokenizer/normalizer.h"
#include "models/tokenizer/pre_tokenizer.h"
#include "models/tokenizer/text_decoder.h"
#include "models/tokenizer/tokenizer.h"
#include "models/tokenizer/vocabulary.h"

namespace concertina {

struct PipelineParts {
  std::unique_ptr<Vocabulary> vocabulary;  // the model points to it
  Normalizer normalizer;
  AddedTokens added;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<PieceModel> model;
  std::unique_ptr<TextDecoder> decoder;
  std::optional<TokenId> bos, eos, unk;
  bool adds_bos = false;
};

// Checks that ids fit: INVALID_ARGUMENT when an added token's id is far outside the vocabulary, is
// another token's, or bos/eos/unk are out of range.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakePipelineTokenizer(PipelineParts parts);

}  // namespace concertina
