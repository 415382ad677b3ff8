// Tokenizers from the vocabulary arrays of GGUF files.
#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "models/tokenizer/bpe_model.h"
#include "models/tokenizer/pipeline_tokenizer.h"
#include "models/tokenizer/score_model.h"

namespace concertina {
namespace {

enum TokenType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kByte = 6 };

constexpr std::string_view kNumberPattern = R"(\p{N})";
constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// How a named pre-tokenizer cuts, and what comes with it in the reference's tokenizer of that
// model.
struct PreTokenizerKind {
  std::vector<std::string_view> patterns;
  bool nfc = false;
  bool ignore_merges = false;
};

absl::StatusOr<PreTokenizerKind> KindOf(const std::string& pre) {
  const auto is = [&](std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), pre) != names.end();
  };
  if (is({"smollm", "starcoder", "refact", "command-r", "codeshell"})) {
    return PreTokenizerKind{{kNumberPattern, kGpt2Pattern}};
  }
  if (is({"gpt-2", "gpt2", "default", ""})) return PreTokenizerKind{{kGpt2Pattern}};
  if (is({"llama-bpe", "llama3", "llama-v3"}))
    return PreTokenizerKind{{kLlama3Pattern}, false, true};
  if (is({"qwen2"})) return PreTokenizerKind{{kQwen2Pattern}, true, false};
  return absl::UnimplementedError(absl::StrCat(
      "tokenizer.ggml.pre '", pre, "': known are smollm, gpt-2, llama-bpe, qwen2, default"));
}

int64_t TypeOf(const GgufVocabulary& source, size_t id) {
  return source.token_types.empty() ? kNormal : source.token_types[id];
}

absl::Status CheckArrays(const GgufVocabulary& source) {
  const size_t count = source.tokens.size();
  if (count == 0 || count > static_cast<size_t>(std::numeric_limits<TokenId>::max())) {
    return absl::InvalidArgumentError(absl::StrCat("tokenizer.ggml.tokens: ", count, " tokens"));
  }
  if (!source.token_types.empty() && source.token_types.size() != count) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tokenizer.ggml.token_type: ", source.token_types.size(), " for ", count, " tokens"));
  }
  for (const auto& id : {source.bos, source.eos, source.unk}) {
    if (id && (*id < 0 || static_cast<size_t>(*id) >= count)) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer.ggml: special token id ", *id, " of ", count));
    }
  }
  return absl::OkStatus();
}

std::optional<TokenId> Narrow(const std::optional<int64_t>& id) {
  if (!id) return std::nullopt;
  return static_cast<TokenId>(*id);
}

// What both models share: vocabulary, added tokens (unknown, control, user defined) and special
// ids.
PipelineParts CommonParts(const GgufVocabulary& source, const Normalizer& normalizer) {
  PipelineParts parts;
  parts.vocabulary = std::make_unique<Vocabulary>();
  parts.vocabulary->pieces = source.tokens;
  parts.vocabulary->ids.reserve(source.tokens.size());
  for (size_t id = 0; id < source.tokens.size(); ++id) {
    // Of equal spellings the last counts, for text and for added tokens.
    parts.vocabulary->ids[source.tokens[id]] = static_cast<TokenId>(id);
  }
  std::vector<AddedToken> added;
  for (size_t id = 0; id < source.tokens.size(); ++id) {
    const int64_t type = TypeOf(source, id);
    if (type != kUnknown && type != kControl && type != kUserDefined) continue;
    if (*parts.vocabulary->Find(source.tokens[id]) != static_cast<TokenId>(id)) continue;
    added.push_back({.id = static_cast<TokenId>(id),
                     .content = source.tokens[id],
                     .special = type != kUserDefined});
  }
  parts.normalizer = normalizer;
  parts.added = AddedTokens(std::move(added), normalizer);
  parts.bos = Narrow(source.bos);
  parts.eos = Narrow(source.eos);
  parts.unk = Narrow(source.unk);
  parts.adds_bos = source.add_bos;
  return parts;
}

absl::StatusOr<std::vector<BpeModel::Merge>> MergePairs(const std::vector<std::string>& merges) {
  std::vector<BpeModel::Merge> pairs;
  pairs.reserve(merges.size());
  for (const std::string& merge : merges) {
    const size_t space = merge.find(' ', 1);
    if (space == std::string::npos || space + 1 == merge.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer.ggml.merges: '", merge, "' is no pair"));
    }
    pairs.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  return pairs;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeByteLevel(const GgufVocabulary& source) {
  const absl::StatusOr<PreTokenizerKind> kind = KindOf(source.pre);
  if (!kind.ok()) return kind.status();
  Normalizer normalizer;
  if (kind->nfc) normalizer = Normalizer({{NormalizerStep::Kind::kNfc, "", ""}});
  PipelineParts parts = CommonParts(source, normalizer);
  std::vector<PreTokenizerStep> steps;
  for (std::string_view pattern : kind->patterns) {
    absl::StatusOr<SplitRegex> regex = SplitRegex::Compile(pattern);
    if (!regex.ok()) return regex.status();
    steps.emplace_back(RegexStep{*std::move(regex)});
  }
  parts.pre_tokenizer = PreTokenizer(std::move(steps));
  const auto merges = MergePairs(source.merges);
  if (!merges.ok()) return merges.status();
  std::vector<TokenId> reserved;
  for (const AddedToken& token : parts.added.tokens()) reserved.push_back(token.id);
  // No unk: in a byte-level model every byte has a token, and tokenizer.ggml.unknown_token_id is
  // often a default.
  auto model = BpeModel::Make(parts.vocabulary.get(), *merges,
                              {.byte_level = true, .ignore_merges = kind->ignore_merges}, reserved);
  if (!model.ok()) return model.status();
  parts.model = *std::move(model);
  parts.decoder = std::make_unique<ByteLevelDecoder>();
  return MakePipelineTokenizer(std::move(parts));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeLlama(const GgufVocabulary& source) {
  if (source.scores.size() != source.tokens.size()) {
    return absl::InvalidArgumentError(absl::StrCat("tokenizer.ggml.scores: ", source.scores.size(),
                                                   " for ", source.tokens.size(), " tokens"));
  }
  if (std::any_of(source.scores.begin(), source.scores.end(),
                  [](float s) { return std::isnan(s); })) {
    return absl::InvalidArgumentError("tokenizer.ggml.scores: not a number");
  }
  std::vector<NormalizerStep> steps;
  if (source.add_space_prefix) steps.push_back({NormalizerStep::Kind::kPrepend, "", "▁"});
  steps.push_back({NormalizerStep::Kind::kReplace, " ", "▁"});
  PipelineParts parts = CommonParts(source, Normalizer(std::move(steps)));
  std::vector<bool> joinable(source.tokens.size());
  for (size_t id = 0; id < joinable.size(); ++id) {
    const int64_t type = TypeOf(source, id);
    joinable[id] = type != kUnknown && type != kControl && type != kByte;
  }
  parts.model = std::make_unique<ScoreModel>(parts.vocabulary.get(), source.scores,
                                             std::move(joinable), parts.unk);
  LlamaDecoder::Options decoder{.replacements = {{"▁", " "}}, .strip = " "};
  decoder.strip_max = source.add_space_prefix ? 1 : 0;
  parts.decoder = std::make_unique<LlamaDecoder>(std::move(decoder));
  return MakePipelineTokenizer(std::move(parts));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(const GgufVocabulary& vocabulary) {
  if (absl::Status status = CheckArrays(vocabulary); !status.ok()) return status;
  if (vocabulary.model == "gpt2") return MakeByteLevel(vocabulary);
  if (vocabulary.model == "llama") return MakeLlama(vocabulary);
  return absl::UnimplementedError(
      absl::StrCat("tokenizer.ggml.model '", vocabulary.model, "': known are gpt2 and llama"));
}

}  // namespace concertina
