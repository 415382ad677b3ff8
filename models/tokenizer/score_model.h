// SentencePiece's BPE: adjacent pieces are joined, best score first, as long as the result is in
// the vocabulary (Kudo and Richardson 2018; the "llama" tokenizer of GGUF files).
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "models/tokenizer/vocabulary.h"

namespace concertina {

class ScoreModel final : public PieceModel {
 public:
  // The vocabulary must outlive the model; one score per id, none of them NaN. `joinable[id]`: text
  // may become this token (false for control, unknown and byte tokens). Characters outside the
  // vocabulary become their byte tokens, or `unk` where one is missing.
  ScoreModel(const Vocabulary* vocabulary, std::vector<float> scores, std::vector<bool> joinable,
             std::optional<TokenId> unk);

  void Encode(std::string_view piece, std::vector<TokenId>* ids) const override;

 private:
  struct Symbol {
    std::string_view text;   // empty once joined to the left
    int32_t previous, next;  // -1 at the ends
  };
  std::optional<TokenId> Find(std::string_view text) const;
  void JoinAll(std::vector<Symbol>* symbols) const;
  void AppendBytes(std::string_view text, std::vector<TokenId>* ids) const;

  const Vocabulary* vocabulary_;
  std::vector<float> scores_;
  std::vector<bool> joinable_;
  std::optional<TokenId> unk_;
  size_t longest_ = 0;  // bytes of the longest joinable piece: bounds every look-up
};

}  // namespace concertina
