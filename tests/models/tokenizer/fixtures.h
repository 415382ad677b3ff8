// Tokenizers and rows of the golden folders.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/tokenizer/tokenizer.h"

namespace concertina::testing {

struct GoldenRow {
  std::string text;
  std::vector<TokenId> ids;             // with what the post-processor adds
  std::vector<TokenId> ids_no_special;  // without
  std::string decoded;                  // of ids_no_special
  std::string decoded_skip_special;     // of ids
};

std::string ReadFile(const std::string& path);

// `folder` is a name under tests/goldens.
std::string GoldenPath(const std::string& folder, const std::string& file);
std::vector<GoldenRow> ReadRows(const std::string& path);

// Both abort the test program with the reason when the file is missing or refused.
std::unique_ptr<Tokenizer> LoadJsonTokenizer(const std::string& folder);
GgufVocabulary ReadSmollm2Vocabulary();

}  // namespace concertina::testing
