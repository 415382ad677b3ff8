// The pre-tokenizers of tokenizer.json: they cut a text into the pieces that BPE merges inside.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "models/tokenizer/split_regex.h"
#include "models/tokenizer/tokenizer.h"

namespace concertina {

// GPT-2's expression, also used by SmolLM2 (after the digits).
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Cuts at the matches of an expression; digits, GPT-2's words and Split are all of this kind.
struct RegexStep {
  SplitRegex regex;
};

// Puts a space before each piece that has none (ByteLevel's add_prefix_space).
struct PrefixSpaceStep {};

// Writes spaces as `replacement`, optionally puts one in front, and cuts before each.
struct MetaspaceStep {
  enum class Prepend { kAlways, kFirst, kNever };
  std::string replacement;
  Prepend prepend = Prepend::kAlways;
  bool split = true;
};

using PreTokenizerStep = std::variant<RegexStep, PrefixSpaceStep, MetaspaceStep>;

// Immutable and thread-safe.
class PreTokenizer {
 public:
  PreTokenizer() = default;
  explicit PreTokenizer(std::vector<PreTokenizerStep> steps) : steps_(std::move(steps)) {}

  // Pieces of a normalized text, in order; none is empty. `context`: what stands before the text.
  std::vector<std::string> Split(std::string_view text, Tokenizer::Context context) const;

 private:
  std::vector<PreTokenizerStep> steps_;
};

}  // namespace concertina
