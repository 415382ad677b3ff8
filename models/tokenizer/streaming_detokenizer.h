// Text of an answer while it is generated.
#pragma once

#include <string>

#include "models/tokenizer/tokenizer.h"

namespace concertina {

// Turns ids into text one at a time. What is appended is valid UTF-8 (never half a character), and
// all of it equals Tokenizer::Decode of all ids, U+FFFD for invalid
// bytes included. Text may come one or more tokens late: a byte-fallback run is decided as a whole,
// as the reference does. Not thread-safe; the tokenizer must outlive it.
class StreamingDetokenizer {
 public:
  explicit StreamingDetokenizer(const Tokenizer& tokenizer, bool skip_special = true)
      : tokenizer_(&tokenizer), skip_special_(skip_special) {
    state_.held.reserve(64);  // runs of bytes are seldom longer: pushing then allocates nothing
  }

  // Appends what is certain after `id`.
  void Push(TokenId id, std::string* out) {
    tokenizer_->DecodeStep(id, skip_special_, &state_, out);
  }

  // Appends what was held back; afterwards the object starts afresh.
  void Flush(std::string* out) {
    tokenizer_->DecodeEnd(&state_, out);
    state_ = DecodeState();
  }

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  DecodeState state_;
};

}  // namespace concertina
