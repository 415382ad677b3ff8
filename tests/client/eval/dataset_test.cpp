#include "client/eval/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace concertina::eval {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

absl::StatusOr<Dataset> Parse(const std::string& text, DatasetOptions options = {}) {
  options.name = "data.jsonl";
  if (options.folder.empty()) options.folder = "folder/";
  if (!options.read) {
    options.read = [](const std::string& path) -> absl::StatusOr<std::string> {
      return "bytes of " + path;
    };
  }
  return ParseDataset(text, options);
}

std::string Error(const std::string& text) {
  const auto dataset = Parse(text);
  return dataset.ok() ? "" : std::string(dataset.status().message());
}

constexpr char kPrompts[] = R"([
  {"task": "copy", "seed": 1, "prompt": [1, 2], "ans": [3, 4, 5], "full_nll": 0.5},
  {"task": "self", "prompt": [1], "ans": null},
  {"task": "self", "prompt": [1], "ans": [7]},
  {"prompt": "Once upon", "continuation": " a time", "special": true}
])";

TEST(Dataset, ReadsPromptsOfTokenIdsAndOfText) {
  const auto data = Parse(kPrompts);
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_EQ(data->records.size(), 2u);
  EXPECT_EQ(data->skipped, 2);
  EXPECT_EQ(data->records[0].name, "data.jsonl:0");
  EXPECT_EQ(data->records[0].task, "copy");
  const auto& ids = std::get<ScoredPrompt>(data->records[0].content);
  EXPECT_THAT(ids.prompt.ids, ElementsAre(1, 2));
  EXPECT_THAT(ids.continuation.ids, ElementsAre(3, 4, 5));
  EXPECT_EQ(ids.full_nll, 0.5);
  EXPECT_FALSE(ids.special);
  const auto& text = std::get<ScoredPrompt>(data->records[1].content);
  EXPECT_EQ(data->records[1].task, "prompts");
  EXPECT_EQ(text.prompt.text, "Once upon");
  EXPECT_EQ(text.continuation.text, " a time");
  EXPECT_TRUE(text.special);
  EXPECT_FALSE(text.full_nll.has_value());
}

constexpr char kTurns[] =
    R"([{"ids": [1, 2], "pin": [true], "probe": [3], "gold": 5, "cand": [4, 5]}, {"ids": [6]}])";

TEST(Dataset, ReadsConversationsOfTokenIds) {
  // Alone in a line, among others in a list, and as a member.
  for (const std::string& text :
       {std::string(kTurns), absl::StrCat("[", kTurns, "]"),
        absl::StrCat("{\"turns\": ", kTurns, ", \"task\": \"conversations\"}")}) {
    const auto data = Parse(text);
    ASSERT_TRUE(data.ok()) << data.status();
    ASSERT_EQ(data->records.size(), 1u);
    EXPECT_EQ(data->records[0].task, "conversations");
    const auto& turns = std::get<ProbedConversation>(data->records[0].content).turns;
    ASSERT_EQ(turns.size(), 2u);
    EXPECT_THAT(turns[0].ids, ElementsAre(1, 2));
    EXPECT_THAT(turns[0].probe, ElementsAre(3));
    EXPECT_EQ(turns[0].gold, 5);
    EXPECT_THAT(turns[0].choices, ElementsAre(4, 5));
    EXPECT_TRUE(turns[1].probe.empty());
  }
}

TEST(Dataset, ReadsChatsWithPictures) {
  const auto chats = Parse(
      "{\"image\": \"a.png\", \"question\": \"Where?\", \"answer\": \"Left.\", \"kind\": "
      "\"where\"}\n\n"
      R"({"task": "two", "images": ["/b.png", "c.png"], "system": "Be brief.", "turns": [)"
      R"({"question": "I am Ann.", "reply": "Hello.", "probes": [)"
      R"({"question": "Who?", "answer": "Ann", "choices": ["Ann", "Bob"]}]},)"
      R"({"question": "And this?", "image": "d.png"}]})"
      "\n{\"prompt\": \"Tell me a story.\"}\r\n");
  ASSERT_TRUE(chats.ok()) << chats.status();
  ASSERT_EQ(chats->records.size(), 3u);
  EXPECT_EQ(chats->records[0].name, "data.jsonl:1");
  EXPECT_EQ(chats->records[0].task, "where");
  EXPECT_EQ(chats->records[1].name, "data.jsonl:3");
  const auto& one = std::get<Chat>(chats->records[0].content);
  ASSERT_EQ(one.turns.size(), 1u);
  EXPECT_THAT(one.turns[0].images, ElementsAre("folder/a.png"));
  EXPECT_EQ(one.turns[0].question.answer, "Left.");
  EXPECT_FALSE(one.images_apart);
  const auto& two = std::get<Chat>(chats->records[1].content);
  EXPECT_EQ(two.system_prompt, "Be brief.");
  EXPECT_THAT(two.turns[0].images, ElementsAre("/b.png", "folder/c.png"));
  EXPECT_EQ(two.turns[0].reply, "Hello.");
  ASSERT_EQ(two.turns[0].probes.size(), 1u);
  EXPECT_THAT(two.turns[0].probes[0].choices, ElementsAre("Ann", "Bob"));
  EXPECT_THAT(two.turns[1].images, ElementsAre("folder/d.png"));
  EXPECT_EQ(std::get<Chat>(chats->records[2].content).turns[0].question.text, "Tell me a story.");
}

TEST(Dataset, PicturesAreSaidWhereTheDataOrTheCallerSays) {
  const std::string text =
      R"({"image": "a.png", "question": "?", "image_turn": "both"}
{"question": "no picture", "image_turn": "apart"}
)";
  const auto as_data = Parse(text);
  ASSERT_TRUE(as_data.ok()) << as_data.status();
  ASSERT_EQ(as_data->records.size(), 3u);
  EXPECT_FALSE(std::get<Chat>(as_data->records[0].content).images_apart);
  EXPECT_TRUE(std::get<Chat>(as_data->records[1].content).images_apart);
  EXPECT_FALSE(std::get<Chat>(as_data->records[2].content).images_apart);
  EXPECT_NE(as_data->records[0].digest, as_data->records[1].digest);
  const auto apart = Parse(text, {.image_turn = ImageTurn::kApart});
  ASSERT_EQ(apart->records.size(), 2u);
  EXPECT_TRUE(std::get<Chat>(apart->records[0].content).images_apart);
  EXPECT_EQ(Parse(text, {.image_turn = ImageTurn::kWith})->records.size(), 2u);
  // Both halves of one record count as one.
  EXPECT_EQ(Parse(text, {.limit = 1})->records.size(), 2u);
}

TEST(Dataset, DigestsChangeWithTheRecordAndItsPictures) {
  const std::string text = R"({"image": "a.png", "question": "?"})";
  const auto digest = [&](const std::string& record, const std::string& bytes) {
    return Parse(record,
                 {.read = [&](const std::string&) -> absl::StatusOr<std::string> { return bytes; }})
        ->records[0]
        .digest;
  };
  EXPECT_EQ(digest(text, "x"), digest(text, "x"));
  EXPECT_NE(digest(text, "x"), digest(text, "y"));
  EXPECT_NE(digest(text, "x"), digest(R"({"image": "a.png", "question": "!"})", "x"));
}

TEST(Dataset, TakesTheFirstRecordsOnly) {
  const auto data = Parse(kPrompts, {.limit = 1});
  ASSERT_EQ(data->records.size(), 1u);
  EXPECT_EQ(data->records[0].name, "data.jsonl:0");
  // What comes after them is not read.
  EXPECT_EQ(Parse("{\"prompt\": \"a\"}\n???\n", {.limit = 1})->records.size(), 1u);
}

struct Bad {
  const char* record;
  const char* why;
};

TEST(Dataset, NamesTheLineAndWhatIsWrongWithIt) {
  for (const auto& [record, why] : std::vector<Bad>{
           {"???", "is no JSON"},
           {"{\"prompt\": [1, 2]", "is no JSON"},
           {"3", "must be an object or a list of turns"},
           {"{}", "question must be a string that is not empty"},
           {R"({"question": 3})", "question must be a string"},
           {R"({"prompt": "", "continuation": "x"})", "prompt must be text or a list"},
           {R"({"prompt": [1.5], "ans": [1, 2]})", "prompt must be text or a list"},
           {R"({"prompt": [-1], "ans": [1, 2]})", "prompt must be text or a list"},
           {R"({"prompt": [1], "ans": [1, 99999999999]})", "ans must be text or a list"},
           {R"({"prompt": [1], "ans": [1, 2], "full_nll": "x"})", "full_nll must be a number"},
           {R"({"prompt": "a", "continuation": "b", "special": 1})", "special must be true or"},
           {R"({"prompt": [1], "ans": [1, 2], "task": 1})", "task must be a string"},
           {R"([{"ids": []}])", "turn 0: ids must be"},
           {R"([{"ids": [1]}])", "no turn has a probe"},
           {R"([{"ids": [1]}, {"ids": [1], "probe": [2]}])", "turn 1: gold must be a token id"},
           {R"([{"ids": [1], "probe": [2], "gold": 3, "cand": [4]}])", "gold must be one of cand"},
           {R"({"turns": []})", "turns must be a list"},
           {R"({"turns": [{"question": "a"}, {"question": ""}]})", "turn 1: question must be"},
           {R"({"question": "a", "answer": "x", "choices": ["y"]})",
            "answer must be one of choices"},
           {R"({"question": "a", "image": ""})", "image must be a string or a list"},
           {R"({"question": "a", "image": "x", "image_turn": "no"})", "image_turn must be"},
           {R"({"turns": [{"question": "a"}, {"question": "b", "reply": "c"}]})", "turn 1: has a"},
           {R"({"question": "a", "reply": "c"})", "there is no probe"},
           {R"({"question": "a", "probes": [{"question": 1}]})", "probe 0: question must be"}}) {
    const std::string text = absl::StrCat("{\"prompt\": \"good\"}\n\n", record, "\n");
    EXPECT_THAT(Error(text), StartsWith("data.jsonl:3: ")) << record;
    EXPECT_THAT(Error(text), HasSubstr(why)) << record;
  }
  EXPECT_THAT(Error(R"([{"prompt": "good"}, 3])"), StartsWith("data.jsonl:1: must be"));
  for (const char* empty : {"", "\n \n", "[]", R"([{"prompt": [1]}])"}) {
    EXPECT_EQ(Error(empty), "data.jsonl: has no record that can be measured") << empty;
  }
}

TEST(Dataset, SaysWhichPictureCannotBeRead) {
  const auto data = Parse("{\"image\": \"a.png\", \"question\": \"?\"}",
                          {.read = [](const std::string& path) -> absl::StatusOr<std::string> {
                            return absl::InvalidArgumentError("cannot read " + path);
                          }});
  EXPECT_EQ(std::string(data.status().message()), "data.jsonl:1: cannot read folder/a.png");
}

}  // namespace
}  // namespace concertina::eval
