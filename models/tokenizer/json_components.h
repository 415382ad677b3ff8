// The parts of tokenizer.json around the model. Each function reads one part of `file`, the whole
// document; what cannot be reproduced exactly is recorded as an error in it.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "models/tokenizer/added_tokens.h"
#include "models/tokenizer/json_fields.h"
#include "models/tokenizer/normalizer.h"
#include "models/tokenizer/pre_tokenizer.h"
#include "models/tokenizer/text_decoder.h"

namespace concertina {

std::vector<NormalizerStep> ParseNormalizer(const JsonFields& file);

struct ParsedPreTokenizer {
  std::vector<PreTokenizerStep> steps;
  bool byte_level = false;  // ends with ByteLevel: the model sees bytes
};
ParsedPreTokenizer ParsePreTokenizer(const JsonFields& file);

// Null after an error.
std::unique_ptr<TextDecoder> ParseDecoder(const JsonFields& file);

// The token a TemplateProcessing puts before every prompt; nothing for null and ByteLevel.
std::optional<TokenId> ParsePostProcessor(const JsonFields& file);

std::vector<AddedToken> ParseAddedTokens(const JsonFields& file);

// A "pattern": {"String": ...} or {"Regex": ...} as a regular expression or a plain string.
struct ParsedPattern {
  std::string text;
  bool is_regex = false;
};
ParsedPattern ParsePattern(const JsonFields& owner);

// An id within TokenId, or an error.
TokenId ParseTokenId(const JsonFields& owner, std::string_view key, const Json& value);

// Calls visit(JsonFields) for the part, or for each element when it is a Sequence (whose list has
// the name `list`); not at all when it is null.
template <typename Visit>
void ForEachStep(const JsonFields& file, std::string_view part, std::string_view list,
                 const Visit& visit) {
  if (file.IsNull(part)) return;
  const JsonFields fields = file.Object(part);
  if (fields.At("type") != "Sequence") return visit(fields);
  fields.OnlyKeys({"type", list});
  for (const Json& step : fields.Array(list)) visit(fields.Child(step, list));
}

}  // namespace concertina
