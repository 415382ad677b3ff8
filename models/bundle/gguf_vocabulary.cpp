#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "models/bundle/loaders.h"

namespace concertina {
namespace {

std::optional<int64_t> Id(const GgufFile& file, std::string_view key) {
  const std::optional<uint64_t> id = file.GetUint(key);
  return id.has_value() ? std::optional(static_cast<int64_t>(*id)) : std::nullopt;
}

// Absent arrays stay empty (a byte-level vocabulary has no scores, SentencePiece's no merges).
template <typename T>
absl::Status Optional(absl::StatusOr<std::vector<T>> values, std::vector<T>* to) {
  if (absl::IsNotFound(values.status())) return absl::OkStatus();
  if (!values.ok()) return values.status();
  *to = *std::move(values);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GgufVocabulary> ReadGgufVocabulary(const GgufFile& file) {
  GgufVocabulary vocabulary;
  vocabulary.model = file.GetString("tokenizer.ggml.model").value_or("");
  vocabulary.pre = file.GetString("tokenizer.ggml.pre").value_or("");
  absl::StatusOr<std::vector<std::string>> tokens = file.GetStrings("tokenizer.ggml.tokens");
  if (!tokens.ok()) return tokens.status();
  vocabulary.tokens = *std::move(tokens);
  absl::Status status =
      Optional(file.GetInts("tokenizer.ggml.token_type"), &vocabulary.token_types);
  status.Update(Optional(file.GetStrings("tokenizer.ggml.merges"), &vocabulary.merges));
  status.Update(Optional(file.GetFloats("tokenizer.ggml.scores"), &vocabulary.scores));
  if (!status.ok()) return status;
  vocabulary.bos = Id(file, "tokenizer.ggml.bos_token_id");
  vocabulary.eos = Id(file, "tokenizer.ggml.eos_token_id");
  vocabulary.unk = Id(file, "tokenizer.ggml.unknown_token_id");
  // llama.cpp's defaults depend on the kind of vocabulary.
  const bool sentence_piece = vocabulary.model == "llama";
  vocabulary.add_bos = file.GetBool("tokenizer.ggml.add_bos_token").value_or(sentence_piece);
  vocabulary.add_space_prefix =
      file.GetBool("tokenizer.ggml.add_space_prefix").value_or(sentence_piece);
  return vocabulary;
}

}  // namespace concertina
