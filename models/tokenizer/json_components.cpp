#include "models/tokenizer/json_components.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "models/tokenizer/utf8.h"

namespace concertina {
namespace {

void AddRegex(const JsonFields& step, std::string_view pattern,
              std::vector<PreTokenizerStep>* steps) {
  absl::StatusOr<SplitRegex> regex = SplitRegex::Compile(pattern);
  if (!regex.ok()) return step.Invalid("pattern", std::string(regex.status().message()));
  steps->emplace_back(RegexStep{*std::move(regex)});
}

// A plain string as a regular expression.
std::string Quoted(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (static_cast<unsigned char>(c) < 0x80)
      absl::StrAppend(&out, "\\x{", absl::Hex(static_cast<unsigned>(c)), "}");
    if (static_cast<unsigned char>(c) >= 0x80) out.push_back(c);
  }
  return out;
}

void AddDigits(const JsonFields& step, std::vector<PreTokenizerStep>* steps) {
  step.OnlyKeys({"type", "individual_digits"});
  AddRegex(step, step.Bool("individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)", steps);
}

void AddByteLevel(const JsonFields& step, ParsedPreTokenizer* parsed) {
  step.OnlyKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"});  // offsets are not made
  if (step.Bool("add_prefix_space", true)) parsed->steps.emplace_back(PrefixSpaceStep{});
  if (step.Bool("use_regex", true)) AddRegex(step, kGpt2Pattern, &parsed->steps);
  parsed->byte_level = true;
}

void AddSplit(const JsonFields& step, std::vector<PreTokenizerStep>* steps) {
  step.OnlyKeys({"type", "pattern", "behavior", "invert"});
  // Inverting swaps matches and the rest: both stay pieces of their own.
  step.Bool("invert", false);
  if (step.String("behavior") != "Isolated") step.Unsupported("behavior", "only Isolated is known");
  const ParsedPattern pattern = ParsePattern(step);
  if (step.ok()) AddRegex(step, pattern.is_regex ? pattern.text : Quoted(pattern.text), steps);
}

void AddMetaspace(const JsonFields& step, std::vector<PreTokenizerStep>* steps) {
  step.OnlyKeys({"type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"});
  MetaspaceStep metaspace;
  metaspace.replacement = step.String("replacement");
  if (metaspace.replacement.empty() ||
      metaspace.replacement.size() != Utf8Length(metaspace.replacement[0])) {
    return step.Invalid("replacement", "not one character");
  }
  metaspace.split = step.Bool("split", true);
  const bool prefix = step.Bool("add_prefix_space", true);  // of files before prepend_scheme
  const std::string scheme =
      step.IsNull("prepend_scheme") ? (prefix ? "always" : "never") : step.String("prepend_scheme");
  if (scheme == "always") {
    metaspace.prepend = MetaspaceStep::Prepend::kAlways;
  } else if (scheme == "first") {
    metaspace.prepend = MetaspaceStep::Prepend::kFirst;
  } else if (scheme == "never") {
    metaspace.prepend = MetaspaceStep::Prepend::kNever;
  } else {
    step.Unsupported("prepend_scheme", scheme);
  }
  steps->emplace_back(metaspace);
}

}  // namespace

ParsedPattern ParsePattern(const JsonFields& owner) {
  const JsonFields pattern = owner.Object("pattern");
  pattern.OnlyKeys({"String", "Regex"});
  ParsedPattern parsed;
  parsed.is_regex = pattern.IsNull("String");
  parsed.text = pattern.String(parsed.is_regex ? "Regex" : "String");
  if (parsed.text.empty()) pattern.Invalid(parsed.is_regex ? "Regex" : "String", "empty");
  return parsed;
}

TokenId ParseTokenId(const JsonFields& owner, std::string_view key, const Json& value) {
  if (!value.is_number_unsigned() ||
      value.get<uint64_t>() >= uint64_t{std::numeric_limits<TokenId>::max()}) {
    owner.Invalid(key, "not a token id");
    return 0;
  }
  return value.get<TokenId>();
}

std::vector<NormalizerStep> ParseNormalizer(const JsonFields& file) {
  std::vector<NormalizerStep> steps;
  ForEachStep(file, "normalizer", "normalizers", [&](const JsonFields& step) {
    const std::string type = step.String("type");
    if (type == "Prepend") {
      step.OnlyKeys({"type", "prepend"});
      steps.push_back({NormalizerStep::Kind::kPrepend, "", step.String("prepend")});
    } else if (type == "Replace") {
      step.OnlyKeys({"type", "pattern", "content"});
      const ParsedPattern pattern = ParsePattern(step);
      if (pattern.is_regex) step.Unsupported("pattern", "a regular expression in a normalizer");
      steps.push_back({NormalizerStep::Kind::kReplace, pattern.text, step.String("content")});
    } else if (type == "NFC") {
      step.OnlyKeys({"type"});
      steps.push_back({NormalizerStep::Kind::kNfc, "", ""});
    } else {
      step.Unsupported("type", absl::StrCat("normalizer '", type, "'"));
    }
  });
  return steps;
}

ParsedPreTokenizer ParsePreTokenizer(const JsonFields& file) {
  ParsedPreTokenizer parsed;
  ForEachStep(file, "pre_tokenizer", "pretokenizers", [&](const JsonFields& step) {
    const std::string type = step.String("type");
    if (parsed.byte_level) step.Unsupported("type", "a pre-tokenizer after ByteLevel");
    if (type == "Digits") {
      AddDigits(step, &parsed.steps);
    } else if (type == "ByteLevel") {
      AddByteLevel(step, &parsed);
    } else if (type == "Split") {
      AddSplit(step, &parsed.steps);
    } else if (type == "Metaspace") {
      AddMetaspace(step, &parsed.steps);
    } else {
      step.Unsupported("type", absl::StrCat("pre-tokenizer '", type, "'"));
    }
  });
  return parsed;
}

std::vector<AddedToken> ParseAddedTokens(const JsonFields& file) {
  std::vector<AddedToken> tokens;
  if (file.IsNull("added_tokens")) return tokens;
  for (const Json& value : file.Array("added_tokens")) {
    const JsonFields fields = file.Child(value, absl::StrCat("added_tokens[", tokens.size(), "]"));
    fields.OnlyKeys({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    AddedToken token;
    token.id = ParseTokenId(fields, "id", fields.At("id"));
    token.content = fields.String("content");
    if (token.content.empty()) fields.Invalid("content", "empty");
    token.special = fields.Bool("special", false);
    token.single_word = fields.Bool("single_word", false);
    token.lstrip = fields.Bool("lstrip", false);
    token.rstrip = fields.Bool("rstrip", false);
    token.normalized = fields.Bool("normalized", !token.special);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace concertina
