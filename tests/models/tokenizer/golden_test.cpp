// Every golden row of every tokenizer, and the extra rows of gen_extra.py: ids, texts and streamed
// texts.
#include <gtest/gtest.h>

#include "models/tokenizer/streaming_detokenizer.h"
#include "models/tokenizer/utf8.h"
#include "tests/models/tokenizer/fixtures.h"

namespace concertina::testing {
namespace {

struct Source {
  std::string folder;
  bool gguf;
  size_t rows_min;
};

void PrintTo(const Source& source, std::ostream* out) { *out << source.folder; }

class GoldenTest : public ::testing::TestWithParam<Source> {
 protected:
  void SetUp() override {
    const std::string& folder = GetParam().folder;
    if (GetParam().gguf) {
      auto made = MakeTokenizer(ReadSmollm2Vocabulary());
      ASSERT_TRUE(made.ok()) << made.status();
      tokenizer_ = *std::move(made);
    } else {
      tokenizer_ = LoadJsonTokenizer(folder);
    }
    rows_ = ReadRows(GoldenPath(folder, "tokenizer_golden.json"));
    ASSERT_GE(rows_.size(), GetParam().rows_min);
    const std::string extra =
        CONCERTINA_SOURCE_DIR "/tests/models/tokenizer/extra/" + folder + ".json";
    const std::vector<GoldenRow> more = ReadRows(extra);
    ASSERT_GE(more.size(), 100u);
    rows_.insert(rows_.end(), more.begin(), more.end());
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<GoldenRow> rows_;
};

TEST_P(GoldenTest, EncodesAsTheReference) {
  for (const GoldenRow& row : rows_) {
    std::vector<TokenId> ids = tokenizer_->Encode(row.text, Tokenizer::Special::kParse);
    EXPECT_EQ(ids, row.ids_no_special) << row.text;
    if (tokenizer_->adds_bos()) ids.insert(ids.begin(), *tokenizer_->bos());
    EXPECT_EQ(ids, row.ids) << row.text;
  }
}

TEST_P(GoldenTest, DecodesAsTheReference) {
  for (const GoldenRow& row : rows_) {
    EXPECT_EQ(tokenizer_->Decode(row.ids_no_special, false), row.decoded) << row.text;
    EXPECT_EQ(tokenizer_->Decode(row.ids, true), row.decoded_skip_special) << row.text;
  }
}

// Also with rows cut short, where characters stay incomplete.
TEST_P(GoldenTest, StreamsWhatItDecodes) {
  for (const GoldenRow& row : rows_) {
    for (size_t cut = 0; cut < std::min<size_t>(3, row.ids.size()); ++cut) {
      const std::span<const TokenId> ids(row.ids.data() + cut, row.ids.size() - cut);
      StreamingDetokenizer stream(*tokenizer_);
      std::string text;
      for (TokenId id : ids) {
        std::string delta;
        stream.Push(id, &delta);
        EXPECT_TRUE(IsValidUtf8(delta)) << row.text;
        text += delta;
      }
      stream.Flush(&text);
      EXPECT_EQ(text, tokenizer_->Decode(ids, true)) << row.text;
    }
  }
}

TEST_P(GoldenTest, BytesOfTokensSpellTheText) {
  for (const GoldenRow& row : rows_) {
    if (row.decoded.find("\xEF\xBF\xBD") != std::string::npos) continue;
    std::string bytes;
    for (size_t i = 0; i < row.ids_no_special.size(); ++i) {
      tokenizer_->AppendBytes(row.ids_no_special[i], i == 0, &bytes);
    }
    EXPECT_EQ(bytes, row.decoded) << row.text;
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTest,
                         ::testing::Values(Source{"llava15-tiny", false, 264},
                                           Source{"qwen2vl-tiny", false, 250},
                                           Source{"smolvlm-tiny", false, 250},
                                           Source{"llama-text-smollm2", true, 270}),
                         [](const auto& param) {
                           std::string name = param.param.folder;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace concertina::testing
