// Settings of tokenizer.json that the golden models do not use, against rows of the reference.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/models/tokenizer/fixtures.h"

namespace concertina::testing {
namespace {

TEST(VariantsTest, EqualTheReference) {
  const auto file = nlohmann::json::parse(
      ReadFile(CONCERTINA_SOURCE_DIR "/tests/models/tokenizer/extra/variants.json"));
  ASSERT_GE(file.at("cases").size(), 14u);
  for (const auto& test : file.at("cases")) {
    const std::string name = test.at("name");
    const auto tokenizer = LoadTokenizerJson(test.at("tokenizer").dump());
    ASSERT_TRUE(tokenizer.ok()) << name << ": " << tokenizer.status();
    for (const auto& row : test.at("rows")) {
      const std::string text = row.at("text");
      const std::vector<TokenId> ids = row.at("ids_no_special");
      EXPECT_EQ((*tokenizer)->Encode(text, Tokenizer::Special::kParse), ids)
          << name << ": '" << text << "'";
      EXPECT_EQ((*tokenizer)->Decode(ids, false), row.at("decoded").get<std::string>())
          << name << ": '" << text << "'";
      const std::vector<TokenId> with_special = row.at("ids");
      EXPECT_EQ((*tokenizer)->Decode(with_special, true),
                row.at("decoded_skip_special").get<std::string>())
          << name << ": '" << text << "'";
    }
  }
}

}  // namespace
}  // namespace concertina::testing
