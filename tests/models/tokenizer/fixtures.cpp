#include "tests/models/tokenizer/fixtures.h"

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "models/weights/gguf.h"

namespace concertina::testing {
namespace {

template <typename T>
T ValueOrExit(absl::StatusOr<T> value, const std::string& what) {
  if (value.ok()) return *std::move(value);
  std::cerr << what << ": " << value.status() << "\n";
  std::exit(1);
}

}  // namespace

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    std::cerr << "cannot read " << path << "\n";
    std::exit(1);
  }
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string GoldenPath(const std::string& folder, const std::string& file) {
  return std::string(CONCERTINA_SOURCE_DIR "/tests/goldens/") + folder + "/" + file;
}

std::vector<GoldenRow> ReadRows(const std::string& path) {
  std::vector<GoldenRow> rows;
  const auto file = nlohmann::json::parse(ReadFile(path));
  for (const auto& row : file.at("rows")) {
    rows.push_back({row.at("text"), row.at("ids"), row.at("ids_no_special"), row.at("decoded"),
                    row.at("decoded_skip_special")});
  }
  return rows;
}

std::unique_ptr<Tokenizer> LoadJsonTokenizer(const std::string& folder) {
  return ValueOrExit(LoadTokenizerJson(ReadFile(GoldenPath(folder, "tokenizer.json"))), folder);
}

GgufVocabulary ReadSmollm2Vocabulary() {
  const std::string path = CONCERTINA_SOURCE_DIR "/.models/SmolLM2-135M-Instruct.Q4_1.gguf";
  const auto file = ValueOrExit(GgufFile::Open(path), path);
  GgufVocabulary vocabulary;
  vocabulary.model = file->GetString("tokenizer.ggml.model").value_or("");
  vocabulary.pre = file->GetString("tokenizer.ggml.pre").value_or("");
  vocabulary.tokens = ValueOrExit(file->GetStrings("tokenizer.ggml.tokens"), "tokens");
  vocabulary.token_types = ValueOrExit(file->GetInts("tokenizer.ggml.token_type"), "types");
  vocabulary.merges = ValueOrExit(file->GetStrings("tokenizer.ggml.merges"), "merges");
  vocabulary.bos = file->GetUint("tokenizer.ggml.bos_token_id");
  vocabulary.eos = file->GetUint("tokenizer.ggml.eos_token_id");
  vocabulary.unk = file->GetUint("tokenizer.ggml.unknown_token_id");
  vocabulary.add_bos = file->GetBool("tokenizer.ggml.add_bos_token").value_or(false);
  vocabulary.add_space_prefix = file->GetBool("tokenizer.ggml.add_space_prefix").value_or(true);
  return vocabulary;
}

}  // namespace concertina::testing
