// Text to token ids and back, for byte-level BPE (GPT-2, SmolLM2, Llama 3, Qwen2) and Llama-style
// BPE with byte fallback. Ids and decoded text equal those of the Hugging Face `tokenizers`
// library.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace concertina {

using TokenId = int32_t;

// What an incremental decoder holds back between two tokens. Start from a default one.
struct DecodeState {
  std::string held;      // raw bytes whose text is not decided yet
  int stripped = 0;      // leading characters removed so far
  bool started = false;  // text was emitted: nothing more is stripped
};

// What is known of a vocabulary besides its tokens.
struct TokenizerFacts {
  TokenId vocab_size = 0;
  std::optional<TokenId> bos, eos, unk;
  bool adds_bos = false;
};

// Immutable and thread-safe. Never fails on any input text: invalid UTF-8 is read as U+FFFD, NUL is
// a character like any other, and the time is O(n log n) in the text's length.
class Tokenizer {
 public:
  // kInert: the text holds no special token, "<|im_end|>" is ten plain characters; no added token
  // (control, user defined) matches. For text from users. kParse: added tokens match inside the
  // text.
  enum class Special { kInert, kParse };

  // What stands before the text in the same prompt. Llama-style tokenizers put a "▁" before the
  // text at kStart and kAfterSpecial and nothing at kAfterText; byte-level ones do not look at it.
  enum class Context { kStart, kAfterSpecial, kAfterText };

  struct Span {
    std::string_view text;
    Special special = Special::kInert;
  };

  virtual ~Tokenizer() = default;

  // Encodes the concatenation of the spans as one text (tokens may cross span borders), looking for
  // added tokens inside runs of kParse spans only. Never adds a BOS.
  virtual std::vector<TokenId> EncodeSpans(std::span<const Span> spans, Context context) const = 0;

  // A text that starts a prompt, and one that follows other text of the same prompt.
  std::vector<TokenId> Encode(std::string_view text, Special special) const;
  std::vector<TokenId> EncodeContinuation(std::string_view text, Special special) const;

  // Equal to the reference's decode(ids, skip_special_tokens). Unknown ids give nothing.
  std::string Decode(std::span<const TokenId> ids, bool skip_special) const;

  // Incremental decode: appends the text that is certain after `id`, then what is left at the end.
  // Only whole UTF-8 characters are appended. See StreamingDetokenizer for the comfortable form.
  virtual void DecodeStep(TokenId id, bool skip_special, DecodeState* state,
                          std::string* out) const = 0;
  virtual void DecodeEnd(DecodeState* state, std::string* out) const = 0;

  // Appends the raw bytes one token stands for: possibly a part of a character, the byte itself for
  // a byte-fallback token, the literal text for a special one. `at_start`: it is the first of a
  // text.
  virtual void AppendBytes(TokenId id, bool at_start, std::string* out) const = 0;

  // The id of the token spelled exactly so in the vocabulary (in its own alphabet: "Ġthe", "▁the").
  virtual std::optional<TokenId> Find(std::string_view piece) const = 0;
  virtual bool IsSpecial(TokenId id) const = 0;

  // Ids are 0 .. vocab_size() - 1; a model may have more rows, padded.
  TokenId vocab_size() const { return facts_.vocab_size; }
  // From a tokenizer.json, bos and eos are the template's or the customary spelling ("</s>",
  // "<|im_end|>"): the model's own configuration has the last word.
  std::optional<TokenId> bos() const { return facts_.bos; }
  std::optional<TokenId> eos() const { return facts_.eos; }
  std::optional<TokenId> unk() const { return facts_.unk; }
  // Whether a prompt starts with bos(); Encode never adds it.
  bool adds_bos() const { return facts_.adds_bos; }

 protected:
  explicit Tokenizer(const TokenizerFacts& facts) : facts_(facts) {}

 private:
  TokenizerFacts facts_;
};

// The vocabulary arrays of a GGUF file (keys tokenizer.ggml.*).
struct GgufVocabulary {
  std::string model;  // "gpt2" or "llama"
  std::string pre;    // pre-tokenizer name, for "gpt2"
  std::vector<std::string> tokens;
  std::vector<int64_t>
      token_types;  // 1 normal 2 unknown 3 control 4 user defined 5 unused 6 byte; may be empty
  std::vector<std::string> merges;  // "a b", by rank, for "gpt2"
  std::vector<float> scores;        // for "llama"
  std::optional<int64_t> bos, eos, unk;
  bool add_bos = false;
  bool add_space_prefix = true;
};

// model "gpt2": byte-level BPE by merges. pre: smollm (and starcoder, refact, command-r, codeshell:
// every \p{N} alone, then GPT-2's expression), gpt-2, llama-bpe (llama3, llama-v3), qwen2, and
// default or empty, which is read as gpt-2. model "llama": SentencePiece BPE by scores, with byte
// fallback. INVALID_ARGUMENT for inconsistent arrays, UNIMPLEMENTED for an unknown model or pre.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(const GgufVocabulary& vocabulary);

// Hugging Face tokenizer.json with a BPE model. Parts that are not reproduced exactly are refused
// (UNIMPLEMENTED, naming the part); malformed files are INVALID_ARGUMENT.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizerJson(std::string_view json);

}  // namespace concertina
