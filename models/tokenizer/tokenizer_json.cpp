// Tokenizers from tokenizer.json of Hugging Face.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "models/tokenizer/bpe_model.h"
#include "models/tokenizer/json_components.h"
#include "models/tokenizer/pipeline_tokenizer.h"

namespace concertina {
namespace {

std::unique_ptr<Vocabulary> ParseVocabulary(const JsonFields& model) {
  auto vocabulary = std::make_unique<Vocabulary>();
  const Json& table = model.At("vocab");
  if (!table.is_object() || table.empty()) {
    model.Invalid("vocab", "not a table of tokens");
    return vocabulary;
  }
  // Small gaps between ids are allowed; a huge id must not make a huge table.
  const size_t limit = table.size() + 65536;
  for (const auto& item : table.items()) {
    const TokenId id = ParseTokenId(model, "vocab", item.value());
    if (static_cast<size_t>(id) >= limit)
      model.Invalid("vocab", absl::StrCat("id ", id, " is too large"));
    if (!model.ok()) return vocabulary;
    auto& pieces = vocabulary->pieces;
    if (pieces.size() <= static_cast<size_t>(id)) pieces.resize(static_cast<size_t>(id) + 1);
    if (!pieces[id].empty()) model.Invalid("vocab", absl::StrCat("id ", id, " occurs twice"));
    pieces[id] = item.key();
    vocabulary->ids.emplace(item.key(), id);
  }
  return vocabulary;
}

// ["a b", ...] or, since tokenizers 0.20, [["a", "b"], ...].
std::vector<BpeModel::Merge> ParseMerges(const JsonFields& model) {
  std::vector<BpeModel::Merge> merges;
  for (const Json& merge : model.Array("merges")) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    const std::string text = merge.is_string() ? merge.get<std::string>() : "";
    const size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      model.Invalid("merges", absl::StrCat("entry ", merges.size(), " is no pair"));
      return merges;
    }
    merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return merges;
}

void CheckModelSettings(const JsonFields& model) {
  model.OnlyKeys({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                  "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
  if (!model.IsNull("type") && model.At("type") != "BPE")
    model.Unsupported("type", "only BPE is known");
  if (!model.IsNull("dropout") && model.At("dropout") != 0)
    model.Unsupported("dropout", "not null");
  for (std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.IsNull(key) && !model.String(key).empty()) model.Unsupported(key, "not empty");
  }
}

BpeOptions ParseOptions(const JsonFields& model, const Vocabulary& vocabulary, bool byte_level) {
  CheckModelSettings(model);
  BpeOptions options{.byte_level = byte_level};
  options.byte_fallback = model.Bool("byte_fallback", false);
  options.fuse_unk = model.Bool("fuse_unk", false);
  options.ignore_merges = model.Bool("ignore_merges", false);
  if (byte_level && options.byte_fallback)
    model.Unsupported("byte_fallback", "together with ByteLevel");
  if (!model.IsNull("unk_token")) {
    options.unk = vocabulary.Find(model.String("unk_token"));
    if (!options.unk) model.Invalid("unk_token", "not in the vocabulary");
  }
  return options;
}

// tokenizer.json does not say which tokens start and end a text: the customary spellings.
std::optional<TokenId> FindCustomary(const std::vector<AddedToken>& added,
                                     std::initializer_list<std::string_view> spellings) {
  for (std::string_view spelling : spellings) {
    const auto found = std::find_if(added.begin(), added.end(), [&](const AddedToken& token) {
      return token.special && token.content == spelling;
    });
    if (found != added.end()) return found->id;
  }
  return std::nullopt;
}

absl::StatusOr<PipelineParts> ParseFile(const Json& document) {
  absl::Status error;
  const JsonFields file(document, "tokenizer.json", &error);
  file.OnlyKeys({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                 "post_processor", "decoder", "model"});
  for (std::string_view key : {"truncation", "padding"}) {
    if (!file.IsNull(key)) file.Unsupported(key, "not null");
  }
  PipelineParts parts;
  parts.normalizer = Normalizer(ParseNormalizer(file));
  std::vector<AddedToken> added = ParseAddedTokens(file);
  ParsedPreTokenizer pre_tokenizer = ParsePreTokenizer(file);
  parts.decoder = ParseDecoder(file);
  const std::optional<TokenId> bos = ParsePostProcessor(file);
  const JsonFields model = file.Object("model");
  parts.vocabulary = ParseVocabulary(model);
  const BpeOptions options = ParseOptions(model, *parts.vocabulary, pre_tokenizer.byte_level);
  const std::vector<BpeModel::Merge> merges = ParseMerges(model);
  if (!error.ok()) return error;

  std::vector<TokenId> reserved;
  for (const AddedToken& token : added) reserved.push_back(token.id);
  auto bpe = BpeModel::Make(parts.vocabulary.get(), merges, options, reserved);
  if (!bpe.ok()) return bpe.status();
  parts.model = *std::move(bpe);
  parts.pre_tokenizer = PreTokenizer(std::move(pre_tokenizer.steps));
  parts.bos = bos ? bos : FindCustomary(added, {"<s>", "<|begin_of_text|>"});
  parts.eos = FindCustomary(added, {"</s>", "<|im_end|>", "<|eot_id|>", "<|endoftext|>"});
  parts.unk = options.unk;
  parts.adds_bos = bos.has_value();
  parts.added = AddedTokens(std::move(added), parts.normalizer);
  return parts;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizerJson(std::string_view json) {
  const Json document = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded()) return absl::InvalidArgumentError("tokenizer.json: not JSON");
  absl::StatusOr<PipelineParts> parts = ParseFile(document);
  if (!parts.ok()) return parts.status();
  return MakePipelineTokenizer(*std::move(parts));
}

}  // namespace concertina
