#include "tests/golden/tokenizer_rows.h"

#include <filesystem>
#include <vector>

#include "absl/strings/str_cat.h"
#include "models/config/json_file.h"
#include "nlohmann/json.hpp"

namespace concertina::testing {
namespace {

// Rows that differ in one quantity, and the first of them.
struct Mismatches {
  int64_t count = 0;
  std::string first;

  void Note(bool equal, size_t row, const std::string& text) {
    if (equal) return;
    if (count++ == 0) first = absl::StrCat("first in row ", row, ": '", text, "'");
  }
};

}  // namespace

void CheckTokenizerRows(const std::string& folder, const Tokenizer& tokenizer, Report* report) {
  const std::string path = folder + "/tokenizer_golden.json";
  if (!std::filesystem::exists(path)) return;
  report->BeginCase("tokenizer_golden.json");
  const auto json = ReadJsonFile(path);
  if (!json.ok()) return report->Failed("rows", std::string(json.status().message()));
  Mismatches ids, plain, decoded, skipped;
  size_t index = 0;
  for (const nlohmann::json& row : json->at("rows")) {
    const std::string text = row.at("text");
    const auto expected_ids = row.at("ids").get<std::vector<TokenId>>();
    const auto expected_plain = row.at("ids_no_special").get<std::vector<TokenId>>();
    std::vector<TokenId> actual = tokenizer.Encode(text, Tokenizer::Special::kParse);
    plain.Note(actual == expected_plain, index, text);
    if (tokenizer.adds_bos()) actual.insert(actual.begin(), *tokenizer.bos());
    ids.Note(actual == expected_ids, index, text);
    decoded.Note(tokenizer.Decode(expected_plain, false) == row.at("decoded"), index, text);
    skipped.Note(tokenizer.Decode(expected_ids, true) == row.at("decoded_skip_special"), index,
                 text);
    ++index;
  }
  if (index == 0) return report->Failed("rows", "there are none");
  report->Exact("ids", ids.count, ids.first);
  report->Exact("ids_no_special", plain.count, plain.first);
  report->Exact("decoded", decoded.count, decoded.first);
  report->Exact("decoded_skip_special", skipped.count, skipped.first);
}

}  // namespace concertina::testing
