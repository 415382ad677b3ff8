#include "client/eval/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace concertina::eval {
namespace {

using ::testing::HasSubstr;

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::remove_all(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Text() const {
    std::ostringstream text;
    text << std::ifstream(file_, std::ios::binary).rdbuf();
    return text.str();
  }
  void Append(const std::string& text) const { std::ofstream(file_, std::ios::app) << text; }

  const std::string folder_ =
      ::testing::TempDir() + "concertina-store-" + std::to_string(getpid()) + "/new";
  const std::string file_ = folder_ + "/results.jsonl";
};

Cell FullCell(const std::string& key) {
  Cell cell{.key = key, .record = "a:1", .task = "t", .setting = "full 1", .share = 0.25};
  cell.scores = Scores{.nll = 1.0 / 3, .argmax = {4, 5}, .data_full_nll = 0.1};
  cell.probes = {{.after = 4, .turn = 2, .right = true}};
  cell.answers = {{.turn = 3,
                   .probe = true,
                   .pictures = true,
                   .apart = true,
                   .kind = "k",
                   .question = "q\n",
                   .expected = "e",
                   .right = false,
                   .text = "a",
                   .token_ids = {9}}};
  return cell;
}

TEST_F(StoreTest, KeepsCellsOverRuns) {
  {
    auto store = Store::Open(folder_, false);
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_EQ((*store)->Find("one"), nullptr);
    ASSERT_TRUE((*store)->Add(FullCell("one")).ok());
    ASSERT_TRUE((*store)->Add({.key = "two"}).ok());
  }
  auto store = Store::Open(folder_, false);
  ASSERT_TRUE(store.ok()) << store.status();
  const Cell* cell = (*store)->Find("one");
  ASSERT_NE(cell, nullptr);
  // Every member, and the double to its last bit.
  EXPECT_EQ(ToJson(*cell), ToJson(FullCell("one")));
  EXPECT_EQ(cell->scores->nll, 1.0 / 3);
  ASSERT_NE((*store)->Find("two"), nullptr);
  EXPECT_FALSE((*store)->Find("two")->scores.has_value());
}

TEST_F(StoreTest, ALineThatWasCutOffIsDroppedAndTheNextOneIsWhole) {
  ASSERT_TRUE((*Store::Open(folder_, false))->Add({.key = "one"}).ok());
  const std::string whole = Text();
  Append(whole.substr(0, whole.size() / 2));
  {
    auto store = Store::Open(folder_, false);
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_NE((*store)->Find("one"), nullptr);
    EXPECT_EQ(Text(), whole);
    ASSERT_TRUE((*store)->Add({.key = "two"}).ok());
  }
  EXPECT_NE((*Store::Open(folder_, false))->Find("two"), nullptr);
}

TEST_F(StoreTest, NamesALineThatIsNoCell) {
  ASSERT_TRUE((*Store::Open(folder_, false))->Add({.key = "one"}).ok());
  Append("{\"key\": 3}\n");
  const absl::Status status = Store::Open(folder_, false).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("results.jsonl:2: "));
  // Beginning anew does not read it.
  auto fresh = Store::Open(folder_, true);
  ASSERT_TRUE(fresh.ok()) << fresh.status();
  EXPECT_EQ((*fresh)->Find("one"), nullptr);
  EXPECT_EQ(Text(), "");
}

TEST_F(StoreTest, OneAtATime) {
  const auto first = Store::Open(folder_, false);
  ASSERT_TRUE(first.ok());
  const absl::Status status = Store::Open(folder_, true).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("in use"));
}

TEST_F(StoreTest, SaysWhatCannotBeWritten) {
  std::filesystem::create_directories(folder_);
  Append("");
  const absl::Status status = Store::Open(file_, false).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr(file_));
}

}  // namespace
}  // namespace concertina::eval
