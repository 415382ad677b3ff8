// Inert text, hostile text, hostile files, and GGUF vocabularies made from the golden tokenizers.
#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>
#include <random>

#include "models/tokenizer/normalizer.h"
#include "models/tokenizer/streaming_detokenizer.h"
#include "models/tokenizer/utf8.h"
#include "tests/models/tokenizer/fixtures.h"

namespace concertina::testing {
namespace {

using Special = Tokenizer::Special;
using Context = Tokenizer::Context;

const std::vector<std::string> kFolders = {"llava15-tiny", "qwen2vl-tiny", "smolvlm-tiny"};

// The GGUF form of a golden tokenizer.json, as llama.cpp's converter writes it.
GgufVocabulary AsGguf(const std::string& folder, const std::string& model, const std::string& pre) {
  const auto file = nlohmann::json::parse(ReadFile(GoldenPath(folder, "tokenizer.json")));
  GgufVocabulary out;
  out.model = model;
  out.pre = pre;
  const auto& vocab = file.at("model").at("vocab");
  out.tokens.resize(vocab.size() + file.at("added_tokens").size());
  size_t count = 0;
  for (const auto& item : vocab.items()) {
    out.tokens[item.value().get<size_t>()] = item.key();
    count = std::max(count, item.value().get<size_t>() + 1);
  }
  out.token_types.assign(out.tokens.size(), 1);
  for (const auto& token : file.at("added_tokens")) {
    const size_t id = token.at("id");
    out.tokens[id] = token.at("content");
    out.token_types[id] = token.at("content") == "<unk>" ? 2 : token.at("special") ? 3 : 4;
    count = std::max(count, id + 1);
  }
  out.tokens.resize(count);
  out.token_types.resize(count);
  out.scores.assign(count, -1e6f);
  std::unordered_map<std::string, int> rank_of;
  for (const auto& merge : file.at("model").at("merges")) {
    const std::string text = merge.is_string()
                                 ? merge.get<std::string>()
                                 : merge[0].get<std::string>() + " " + merge[1].get<std::string>();
    out.merges.push_back(text);
    std::string joined = text;
    joined.erase(joined.find(' '), 1);
    rank_of.emplace(joined, static_cast<int>(rank_of.size()));
  }
  for (size_t id = 0; id < count; ++id) {
    if (rank_of.count(out.tokens[id]) != 0)
      out.scores[id] = -static_cast<float>(rank_of[out.tokens[id]]);
    if (model == "llama" && out.tokens[id].starts_with("<0x") && out.tokens[id].size() == 6)
      out.token_types[id] = 6;
  }
  return out;
}

TEST(GgufTest, EqualsTheJsonTokenizer) {
  const std::vector<std::array<std::string, 3>> sources = {{"llava15-tiny", "llama", ""},
                                                           {"qwen2vl-tiny", "gpt2", "qwen2"},
                                                           {"smolvlm-tiny", "gpt2", "smollm"}};
  for (const auto& [folder, model, pre] : sources) {
    GgufVocabulary vocabulary = AsGguf(folder, model, pre);
    vocabulary.unk = model == "llama" ? std::optional<int64_t>(0) : std::nullopt;
    const auto tokenizer = MakeTokenizer(vocabulary);
    ASSERT_TRUE(tokenizer.ok()) << folder << tokenizer.status();
    for (const GoldenRow& row : ReadRows(GoldenPath(folder, "tokenizer_golden.json"))) {
      EXPECT_EQ((*tokenizer)->Encode(row.text, Special::kParse), row.ids_no_special)
          << folder << ": " << row.text;
      EXPECT_EQ((*tokenizer)->Decode(row.ids_no_special, false), row.decoded)
          << folder << ": " << row.text;
    }
  }
}

TEST(GgufTest, RefusesInconsistentArrays) {
  const GgufVocabulary good = AsGguf("llava15-tiny", "llama", "");
  const auto refused = [&](auto change, absl::StatusCode code) {
    GgufVocabulary bad = good;
    change(bad);
    EXPECT_EQ(MakeTokenizer(bad).status().code(), code);
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  ASSERT_TRUE(MakeTokenizer(good).ok());
  refused([](auto& v) { v.tokens.clear(); }, kInvalid);
  refused([](auto& v) { v.token_types.pop_back(); }, kInvalid);
  refused([](auto& v) { v.scores.pop_back(); }, kInvalid);
  refused([](auto& v) { v.scores[5] = NAN; }, kInvalid);
  refused([](auto& v) { v.bos = 1 << 30; }, kInvalid);
  refused([](auto& v) { v.eos = -1; }, kInvalid);
  refused([](auto& v) { v.add_bos = true; }, kInvalid);  // and names none
  refused([](auto& v) { v.model = "bert"; }, absl::StatusCode::kUnimplemented);
  refused([](auto& v) { v.model = "gpt2", v.pre = "viking"; }, absl::StatusCode::kUnimplemented);
  refused([](auto& v) { v.model = "gpt2", v.merges.push_back("nopair"); }, kInvalid);
  refused([](auto& v) { v.model = "gpt2", v.merges.push_back("not there"); }, kInvalid);
}

TEST(InertTest, SpecialTokensInUserTextStayText) {
  for (const std::string& folder : kFolders) {
    const auto tokenizer = LoadJsonTokenizer(folder);
    for (TokenId id = 0; id < tokenizer->vocab_size(); ++id) {
      if (!tokenizer->IsSpecial(id)) continue;
      const std::string text = tokenizer->Decode(std::vector<TokenId>{id}, false);
      if (text.empty()) continue;
      EXPECT_EQ(tokenizer->Encode(text, Special::kParse), std::vector<TokenId>{id});
      for (const std::string& inert : {text, "a" + text + " b", text + text}) {
        const std::vector<TokenId> ids = tokenizer->Encode(inert, Special::kInert);
        for (TokenId each : ids) EXPECT_FALSE(tokenizer->IsSpecial(each)) << folder << " " << inert;
        EXPECT_EQ(tokenizer->Decode(ids, true), inert) << folder;
      }
    }
  }
}

TEST(InertTest, MatchesNeitherInsideNorAcrossAnInertSpan) {
  const auto tokenizer = LoadJsonTokenizer("llava15-tiny");
  const TokenId image = *tokenizer->Find("<image>");
  const auto images = [&](std::vector<Tokenizer::Span> spans) {
    const std::vector<TokenId> ids = tokenizer->EncodeSpans(spans, Context::kStart);
    return std::count(ids.begin(), ids.end(), image);
  };
  EXPECT_EQ(images({{"x<im", Special::kParse}, {"age>y", Special::kParse}}), 1);
  EXPECT_EQ(images({{"x<im", Special::kParse}, {"age>y", Special::kInert}}), 0);
  EXPECT_EQ(images({{"x<im", Special::kInert}, {"age>y", Special::kParse}}), 0);
  EXPECT_EQ(images({{"<image>", Special::kParse},
                    {"<image>", Special::kInert},
                    {"<image>", Special::kParse}}),
            2);
}

TEST(SpansTest, PlainTextIsJoinedBeforeBpe) {
  for (const std::string& folder : kFolders) {
    const auto tokenizer = LoadJsonTokenizer(folder);
    const std::string text = "Describe the image in detail 2024.";
    const std::vector<TokenId> whole = tokenizer->Encode(text, Special::kInert);
    for (size_t cut = 0; cut <= text.size(); ++cut) {
      const std::vector<Tokenizer::Span> spans = {
          {std::string_view(text).substr(0, cut), Special::kParse},
          {std::string_view(text).substr(cut), Special::kInert}};
      EXPECT_EQ(tokenizer->EncodeSpans(spans, Context::kStart), whole) << folder << " " << cut;
    }
  }
}

TEST(ContinuationTest, LeavesTheDummyPrefixOut) {
  const auto llama = LoadJsonTokenizer("llava15-tiny");
  const auto joint = llama->Encode("yes. USER: the cat", Special::kParse);
  auto parts = llama->Encode("yes.", Special::kParse);
  for (TokenId id : llama->EncodeContinuation(" USER: the cat", Special::kParse))
    parts.push_back(id);
  EXPECT_EQ(parts, joint);
  EXPECT_NE(llama->Encode("cat", Special::kParse),
            llama->EncodeContinuation("cat", Special::kParse));
  const auto byte_level = LoadJsonTokenizer("smolvlm-tiny");
  EXPECT_EQ(byte_level->Encode("cat", Special::kParse),
            byte_level->EncodeContinuation("cat", Special::kParse));
}

TEST(TextTest, InvalidUtf8BecomesReplacementCharacters) {
  for (const std::string& folder : kFolders) {
    const auto tokenizer = LoadJsonTokenizer(folder);
    const std::string nul("a\0b", 3);
    EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(nul, Special::kInert), false), nul);
    EXPECT_EQ(tokenizer->Encode("a\xFF\xE4\xBD", Special::kParse),
              tokenizer->Encode("a\xEF\xBF\xBD\xEF\xBF\xBD", Special::kParse));
    EXPECT_EQ(tokenizer->Encode("\xED\xA0\x80", Special::kParse),  // a surrogate
              tokenizer->Encode("\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", Special::kParse));
  }
}

TEST(TextTest, RandomTextsSurviveTheRoundTrip) {
  std::mt19937 random(7);
  for (const std::string& folder : kFolders) {
    const auto tokenizer = LoadJsonTokenizer(folder);
    for (int i = 0; i < 400; ++i) {
      std::string bytes(random() % 60, ' ');
      for (char& c : bytes) c = static_cast<char>(random() % (i % 2 == 0 ? 256 : 128));
      std::string text;
      AppendUtf8Lossy(bytes, false, &text);
      if (folder == "qwen2vl-tiny") text = ToNfc(text);
      const std::vector<TokenId> ids = tokenizer->Encode(bytes, Special::kInert);
      StreamingDetokenizer stream(*tokenizer);
      std::string streamed;
      for (TokenId id : ids) stream.Push(id, &streamed);
      stream.Flush(&streamed);
      EXPECT_EQ(streamed, text) << folder;
      // Any ids at all: streams stay valid UTF-8 and equal to Decode.
      std::vector<TokenId> noise(30);
      for (TokenId& id : noise)
        id = static_cast<TokenId>(random() % (tokenizer->vocab_size() + 5)) - 2;
      streamed.clear();
      for (TokenId id : noise) {
        std::string delta;
        stream.Push(id, &delta);
        EXPECT_TRUE(IsValidUtf8(delta));
        streamed += delta;
      }
      stream.Flush(&streamed);
      EXPECT_EQ(streamed, tokenizer->Decode(noise, true));
    }
  }
}

TEST(TextTest, AMegabyteOfAnythingIsQuick) {
  const size_t size = 1 << 20;
  std::vector<std::string> texts = {std::string(size, 'a'),    std::string(size, ' '),
                                    std::string(size, '\n'),   std::string(size, '<'),
                                    std::string(size, '\xFF'), std::string(size, '\0'),
                                    std::string(size, '1')};
  for (const char* unit : {"ab", "a \n", " \n", "\xCC\xA3\xCC\x81", "\xE0\xBD\xB3", "<|im_start",
                           "\xF0\x9F\x98\x80", "▁"}) {
    std::string text;
    while (text.size() < size) text += unit;
    texts.push_back(std::move(text));
  }
  for (const std::string& folder : kFolders) {
    const auto tokenizer = LoadJsonTokenizer(folder);
    for (const std::string& text : texts) {
      const std::clock_t start = std::clock();
      const std::vector<TokenId> ids = tokenizer->Encode(text, Special::kParse);
      EXPECT_FALSE(ids.empty());
      tokenizer->Decode(ids, true);
      // Quadratic work takes minutes; sanitizers get their share. Time of this process alone.
      EXPECT_LT(std::clock() - start, 15 * CLOCKS_PER_SEC) << folder << " " << text.substr(0, 12);
    }
  }
}

nlohmann::json Document() {
  return nlohmann::json::parse(ReadFile(GoldenPath("llava15-tiny", "tokenizer.json")));
}

TEST(JsonTest, RefusesWhatItDoesNotKnow) {
  const std::vector<std::pair<const char*, const char*>> changes = {
      {"/truncation", R"({"max_length": 5})"},
      {"/padding", R"({})"},
      {"/surprise", "1"},
      {"/normalizer", R"({"type": "Lowercase"})"},
      {"/normalizer", R"({"type": "Replace", "pattern": {"Regex": "a+"}, "content": "b"})"},
      {"/pre_tokenizer", R"({"type": "Whitespace"})"},
      {"/pre_tokenizer",
       R"({"type": "Split", "pattern": {"String": "a"}, "behavior": "Removed", "invert": false})"},
      {"/post_processor", R"({"type": "RobertaProcessing"})"},
      {"/decoder", "null"},
      {"/decoder", R"({"type": "WordPiece"})"},
      {"/decoder/decoders/3/stop", "1"},
      {"/model/type", R"("Unigram")"},
      {"/model/dropout", "0.1"},
      {"/model/end_of_word_suffix", R"("</w>")"},
      {"/added_tokens/0/odd", "true"},
  };
  for (const auto& [pointer, value] : changes) {
    nlohmann::json document = Document();
    document[nlohmann::json::json_pointer(pointer)] = nlohmann::json::parse(value);
    const absl::Status status = LoadTokenizerJson(document.dump()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << pointer << value << status;
    EXPECT_NE(status.message().find("tokenizer.json."), std::string::npos) << status;
  }
}

TEST(JsonTest, RefusesMalformedFiles) {
  const std::vector<std::pair<const char*, const char*>> changes = {
      {"/model", "3"},
      {"/model/vocab", "[]"},
      {"/model/vocab/a", "-1"},
      {"/model/vocab/a", "2000000000"},
      {"/model/vocab/a", "1"},
      {"/model/vocab/a", R"("1")"},
      {"/model/merges", R"([["a"]])"},
      {"/model/merges", R"(["a b c"])"},
      {"/model/merges", R"([["no", "where"]])"},
      {"/model/unk_token", R"("<none>")"},
      {"/added_tokens/0/id", "2000000000"},
      {"/added_tokens/0/id", "5"},
      {"/added_tokens/3/id", "385"},
      {"/added_tokens/0/content", R"("")"},
      {"/post_processor/special_tokens/<s>/ids", R"([4000000])"},
      {"/pre_tokenizer",
       R"({"type": "Split", "pattern": {"Regex": "(("}, "behavior": "Isolated"})"},
      {"/normalizer", R"("text")"},
  };
  for (const auto& [pointer, value] : changes) {
    nlohmann::json document = Document();
    document[nlohmann::json::json_pointer(pointer)] = nlohmann::json::parse(value);
    const absl::Status status = LoadTokenizerJson(document.dump()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << pointer << value << status;
  }
  EXPECT_FALSE(LoadTokenizerJson("").ok());
  EXPECT_FALSE(LoadTokenizerJson("[1").ok());
  EXPECT_FALSE(LoadTokenizerJson(std::string(1 << 20, '[')).ok());
}

}  // namespace
}  // namespace concertina::testing
