// The decoder and the post-processor of tokenizer.json.
#include "absl/strings/str_cat.h"
#include "models/tokenizer/json_components.h"
#include "models/tokenizer/utf8.h"

namespace concertina {
namespace {

// Reads the steps of Llama's sequence, which must come in the order Replace*, ByteFallback?, Fuse?,
// Strip?.
class LlamaSteps {
 public:
  explicit LlamaSteps(const JsonFields& file) {
    options_.byte_fallback = false;
    ForEachStep(file, "decoder", "decoders", [this](const JsonFields& step) { Add(step); });
  }
  LlamaDecoder::Options options() const { return options_; }

 private:
  void Add(const JsonFields& step) {
    const std::string type = step.String("type");
    const int place = type == "Replace" ? 0 : type == "ByteFallback" ? 1 : type == "Fuse" ? 2 : 3;
    if (place < place_ || (place == place_ && place > 0) || (type == "Strip" && place_ != 2)) {
      return step.Unsupported("type",
                              absl::StrCat("decoder '", type, "' at this place of the sequence"));
    }
    place_ = place;
    if (type == "Replace") {
      AddReplace(step);
    } else if (type == "ByteFallback" || type == "Fuse") {
      step.OnlyKeys({"type"});
      options_.byte_fallback |= type == "ByteFallback";
    } else if (type == "Strip") {
      AddStrip(step);
    } else {
      step.Unsupported("type", absl::StrCat("decoder '", type, "' in a sequence"));
    }
  }

  void AddReplace(const JsonFields& step) {
    step.OnlyKeys({"type", "pattern", "content"});
    const ParsedPattern pattern = ParsePattern(step);
    if (pattern.is_regex) step.Unsupported("pattern", "a regular expression in a decoder");
    options_.replacements.emplace_back(pattern.text, step.String("content"));
  }

  void AddStrip(const JsonFields& step) {
    step.OnlyKeys({"type", "content", "start", "stop"});
    options_.strip = step.String("content");
    if (options_.strip.empty() || options_.strip.size() != Utf8Length(options_.strip[0])) {
      step.Invalid("content", "not one character");
    }
    const int64_t start = step.Integer("start");
    if (start < 0 || start > 1000) step.Invalid("start", "out of range");
    options_.strip_max = static_cast<int>(start);
    if (step.Integer("stop") != 0) step.Unsupported("stop", "not 0");
  }

  LlamaDecoder::Options options_;
  int place_ = 0;
};

// {"SpecialToken": {"id": "<s>", ...}} or {"Sequence": {"id": "A", ...}}: the former's name, or "".
std::string SpecialOfTemplate(const JsonFields& item) {
  item.OnlyKeys({"SpecialToken", "Sequence"});
  if (!item.IsNull("SpecialToken")) return item.Object("SpecialToken").String("id");
  if (item.Object("Sequence").String("id") != "A") item.Unsupported("Sequence", "not A");
  return "";
}

std::optional<TokenId> BosOfTemplate(const JsonFields& step) {
  step.OnlyKeys({"type", "single", "pair", "special_tokens"});
  std::vector<std::string> items;
  for (const Json& item : step.Array("single"))
    items.push_back(SpecialOfTemplate(step.Child(item, "single")));
  if (!step.ok() || (items.size() == 1 && items[0].empty())) return std::nullopt;
  if (items.size() != 2 || items[0].empty() || !items[1].empty()) {
    step.Unsupported("single", "only one token before the text is known");
    return std::nullopt;
  }
  const JsonFields token = step.Object("special_tokens").Object(items[0]);
  const Json& ids = token.Array("ids");
  if (ids.size() != 1) {
    token.Unsupported("ids", "not one id");
    return std::nullopt;
  }
  return ParseTokenId(token, "ids", ids[0]);
}

}  // namespace

std::unique_ptr<TextDecoder> ParseDecoder(const JsonFields& file) {
  if (file.IsNull("decoder")) {
    file.Unsupported("decoder", "missing: tokens would be joined by spaces");
    return nullptr;
  }
  const JsonFields decoder = file.Object("decoder");
  const std::string type = decoder.String("type");
  if (type == "ByteLevel") {
    decoder.OnlyKeys(
        {"type", "add_prefix_space", "trim_offsets", "use_regex"});  // without effect on text
    return std::make_unique<ByteLevelDecoder>();
  }
  if (type == "Sequence") {
    const LlamaSteps steps(file);
    if (file.ok()) return std::make_unique<LlamaDecoder>(steps.options());
  }
  decoder.Unsupported("type", absl::StrCat("decoder '", type, "'"));
  return nullptr;
}

std::optional<TokenId> ParsePostProcessor(const JsonFields& file) {
  std::optional<TokenId> bos;
  ForEachStep(file, "post_processor", "processors", [&](const JsonFields& step) {
    const std::string type = step.String("type");
    if (type == "TemplateProcessing") {
      if (bos) step.Unsupported("type", "a second TemplateProcessing");
      bos = BosOfTemplate(step);
    } else if (type != "ByteLevel") {  // which only changes offsets
      step.Unsupported("type", absl::StrCat("post-processor '", type, "'"));
    }
  });
  return bos;
}

}  // namespace concertina
