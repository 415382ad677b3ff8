// Added tokens ("<|im_start|>", "<image>"): found in the text before normalization and BPE.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "models/tokenizer/normalizer.h"
#include "models/tokenizer/tokenizer.h"

namespace concertina {

// An entry of tokenizer.json's added_tokens.
struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool special = true;
  bool single_word = false;  // no match next to a word character
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and the white space after it
  bool normalized = false;   // searched in the normalized text, itself normalized
};

// Immutable and thread-safe. Matches are leftmost, then longest, as in the reference.
class AddedTokens {
 public:
  using Range = std::pair<size_t, size_t>;  // begin and end in bytes
  struct Segment {
    size_t begin, end;
    TokenId id;  // kNone for plain text
  };
  static constexpr TokenId kNone = -1;

  AddedTokens() = default;
  AddedTokens(std::vector<AddedToken> tokens, const Normalizer& normalizer);

  // Cuts valid UTF-8 into plain and matched segments, none empty, covering the text. Matches lie
  // inside one of the ranges (ascending, disjoint). `normalized` selects which tokens are searched.
  std::vector<Segment> Split(std::string_view text, const std::vector<Range>& ranges,
                             bool normalized) const;

  bool has_normalized() const { return !by_first_byte_[1].empty(); }
  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  struct Needle {
    std::string text;
    size_t token;  // index into tokens_
  };
  const Needle* Longest(std::string_view text, bool normalized) const;

  std::vector<AddedToken> tokens_;
  // [normalized]: by first byte, longest first.
  std::unordered_map<char, std::vector<Needle>> by_first_byte_[2];
};

}  // namespace concertina
