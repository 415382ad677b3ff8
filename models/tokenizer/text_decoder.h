// The decoders of tokenizer.json, as incremental steps: token spellings in, certain text out.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/tokenizer/tokenizer.h"

namespace concertina {

// Immutable and thread-safe; what changes is in the DecodeState.
class TextDecoder {
 public:
  virtual ~TextDecoder() = default;
  // Appends what is certain after one more token spelled `piece`.
  virtual void Step(std::string_view piece, DecodeState* state, std::string* out) const = 0;
  virtual void End(DecodeState* state, std::string* out) const = 0;
  // The raw bytes of one token.
  virtual std::string Bytes(std::string_view piece, bool at_start) const = 0;
};

// ByteLevel: pieces are bytes in GPT-2's alphabet.
class ByteLevelDecoder final : public TextDecoder {
 public:
  void Step(std::string_view piece, DecodeState* state, std::string* out) const override;
  void End(DecodeState* state, std::string* out) const override;
  std::string Bytes(std::string_view piece, bool at_start) const override;
};

// Llama's sequence Replace*, ByteFallback?, Fuse, Strip?.
class LlamaDecoder final : public TextDecoder {
 public:
  struct Options {
    std::vector<std::pair<std::string, std::string>> replacements;  // pattern and content, in order
    bool byte_fallback = true;
    std::string strip;  // a character removed at the start of the text
    int strip_max = 0;  // at most so many times
  };
  explicit LlamaDecoder(Options options) : options_(std::move(options)) {}

  void Step(std::string_view piece, DecodeState* state, std::string* out) const override;
  void End(DecodeState* state, std::string* out) const override;
  std::string Bytes(std::string_view piece, bool at_start) const override;

 private:
  std::string Replaced(std::string_view piece) const;
  void Emit(std::string_view text, DecodeState* state, std::string* out) const;
  void EmitHeldBytes(DecodeState* state, std::string* out) const;

  Options options_;
};

}  // namespace concertina
