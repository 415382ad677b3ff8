#include "client/eval/summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "client/eval/report.h"

namespace concertina::eval {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// Records, two settings, and cells as a test puts them.
class SummaryTest : public ::testing::Test {
 protected:
  SummaryTest()
      : settings_(
            *MakeSettings({.policies = {"h2o"}, .budgets = {"0.2"}, .entry_types = {"bf16"}})) {}

  void Add(Record record, const std::vector<Cell>& full_and_own) {
    for (size_t i = 0; i < full_and_own.size(); ++i) {
      Cell cell = full_and_own[i];
      cell.task = record.task;
      cells_[{record.name, settings_[i].Name()}] = cell;
    }
    records_.push_back(std::move(record));
  }
  void AddPrompt(const std::string& task, Scores full, Scores own) {
    Cell full_cell{.share = 2}, own_cell{.share = 0.2 + 0.1 * static_cast<double>(records_.size())};
    full_cell.scores = std::move(full);
    own_cell.scores = std::move(own);
    Add({.name = std::to_string(records_.size()), .task = task, .content = ScoredPrompt()},
        {full_cell, own_cell});
  }

  std::vector<Row> Rows() const {
    return Summarise(
        records_, settings_,
        [this](const Record& record, const Setting& setting) -> const Cell* {
          const auto found = cells_.find({record.name, setting.Name()});
          return found == cells_.end() ? nullptr : &found->second;
        },
        too_long_, 3);
  }
  static const Row& Find(const std::vector<Row>& rows, const std::string& group, bool reference) {
    for (const Row& row : rows) {
      if (row.group == group && row.setting->reference == reference) return row;
    }
    ADD_FAILURE() << "no row of " << group;
    static const Row kNone;
    return kNone;
  }
  static double Value(const Row& row, const std::string& metric) {
    const Metric* found = row.Find(metric);
    EXPECT_NE(found, nullptr) << metric;
    return found != nullptr ? found->value : NAN;
  }

  std::vector<Setting> settings_;
  std::vector<Record> records_;
  std::map<std::pair<std::string, std::string>, Cell> cells_;
  std::set<const Record*> too_long_;
};

TEST_F(SummaryTest, PerplexityIsTheGeometricMeanOverPrompts) {
  AddPrompt("copy", {1.0, {1, 2, 3, 4}, 1.02}, {1.5, {1, 2, 3, 9}});
  AddPrompt("prose", {2.0, {1, 2}, 1.95}, {2.2, {1, 7}});
  const auto rows = Rows();
  const Row& own = Find(rows, "all", false);
  EXPECT_NEAR(Value(own, "ratio"), std::exp((0.5 + 0.2) / 2), 1e-12);
  EXPECT_NEAR(Value(own, "ppl"), std::exp((1.5 + 2.2) / 2), 1e-12);
  EXPECT_NEAR(Value(own, "agreement"), (0.75 + 0.5) / 2, 1e-12);
  EXPECT_NEAR(own.share, (0.2 + 0.3) / 2, 1e-12);
  EXPECT_EQ(own.records, 2);
  // Two prompts: the bootstrap reaches both.
  EXPECT_NEAR(own.Find("ratio")->interval.low, std::exp(0.2), 1e-12);
  EXPECT_NEAR(own.Find("ratio")->interval.high, std::exp(0.5), 1e-12);
  EXPECT_NEAR(Value(Find(rows, "copy", false), "ratio"), std::exp(0.5), 1e-12);
  EXPECT_NEAR(Value(Find(rows, "prose", false), "agreement"), 0.5, 1e-12);
  const Row& full = Find(rows, "all", true);
  EXPECT_EQ(Value(full, "ratio"), 1);
  EXPECT_EQ(Value(full, "agreement"), 1);
  EXPECT_NEAR(Value(full, "data_error"), 0.05, 1e-12);
  EXPECT_EQ(own.Find("data_error"), nullptr);
}

TEST_F(SummaryTest, PromptsThatAreNotMeasuredBothWaysDoNotCount) {
  AddPrompt("copy", {1.0, {1}}, {1.5, {1}});
  AddPrompt("copy", {1.0, {1}}, {9.0, {2}});
  cells_.erase({"1", settings_[0].Name()});
  const auto rows = Rows();
  EXPECT_EQ(Find(rows, "all", false).records, 1);
  EXPECT_NEAR(Value(Find(rows, "all", false), "ratio"), std::exp(0.5), 1e-12);
  // One task only: no group beside "all".
  EXPECT_EQ(rows.size(), 2u);
}

TEST_F(SummaryTest, ProbesAreComparedOneByOne) {
  Cell full, own;
  full.probes = {{2, 1, true}, {2, 2, true}, {4, 1, true}, {4, 2, false}};
  own.probes = {{2, 1, true}, {2, 2, false}, {4, 1, false}, {4, 2, true}};
  Add({.name = "c", .task = "conversations", .content = ProbedConversation()}, {full, own});
  const auto rows = Rows();
  EXPECT_EQ(Value(Find(rows, "all", true), "accuracy"), 0.75);
  EXPECT_EQ(Value(Find(rows, "all", false), "accuracy"), 0.5);
  EXPECT_EQ(Value(Find(rows, "all", false), "difference"), -0.25);
  EXPECT_EQ(Find(rows, "all", false).Find("accuracy")->count, 4);
  EXPECT_NEAR(Find(rows, "all", false).Find("accuracy")->interval.low, Wilson(2, 4).low, 1e-12);
  EXPECT_EQ(Value(Find(rows, "after turn 2", false), "difference"), -0.5);
  EXPECT_EQ(Value(Find(rows, "after turn 4", false), "difference"), 0);
}

Answer MakeAnswer(int turn, std::optional<bool> right, std::vector<int32_t> ids) {
  return {.turn = turn, .pictures = true, .kind = "where", .right = right, .token_ids = ids};
}

TEST_F(SummaryTest, AnswersArePaired) {
  Cell full, own;
  full.answers = {MakeAnswer(1, true, {1, 2, 3}), MakeAnswer(2, true, {4, 5}),
                  MakeAnswer(3, false, {6}), MakeAnswer(4, std::nullopt, {7})};
  own.answers = {MakeAnswer(1, true, {1, 2, 3}), MakeAnswer(2, false, {5}),
                 MakeAnswer(3, true, {8}), MakeAnswer(4, std::nullopt, {7})};
  full.answers[3].kind = "describe";
  own.answers[3].kind = "describe";
  Add({.name = "c", .task = "scenes", .content = Chat()}, {full, own});
  const auto rows = Rows();
  const Row& all = Find(rows, "all", false);
  EXPECT_EQ(Value(all, "same"), 0.5);
  EXPECT_EQ(all.Find("same")->count, 4);
  EXPECT_NEAR(Value(all, "rouge_l"), (1 + 2.0 / 3 + 0 + 1) / 4, 1e-12);
  EXPECT_NEAR(Value(all, "accuracy"), 2.0 / 3, 1e-12);
  EXPECT_EQ(all.Find("accuracy")->count, 3);
  EXPECT_EQ(Value(all, "difference"), 0);
  EXPECT_EQ(Value(all, "lost"), 1);
  EXPECT_EQ(Value(all, "gained"), 1);
  EXPECT_EQ(Value(Find(rows, "first turn", false), "accuracy"), 1);
  EXPECT_EQ(Value(Find(rows, "later turns", false), "accuracy"), 0.5);
  EXPECT_EQ(Value(Find(rows, "where", false), "same"), 1.0 / 3);
  EXPECT_EQ(Find(rows, "describe", false).Find("accuracy"), nullptr);
  EXPECT_EQ(Value(Find(rows, "all", true), "same"), 1);
}

TEST_F(SummaryTest, WhatIsTooLongForTheFullCacheIsCountedAlone) {
  Cell full, own;
  full.answers = {MakeAnswer(1, true, {1})};
  own.answers = {MakeAnswer(1, false, {2})};
  const Record record{.task = "scenes", .content = Chat()};
  for (const std::string name : {"short", "long", "not measured"}) {
    records_.push_back(record);
    records_.back().name = name;
    if (name == "short") cells_[{name, settings_[0].Name()}] = full;
    if (name != "not measured") cells_[{name, settings_[1].Name()}] = own;
  }
  cells_[{"long", settings_[1].Name()}].answers = {
      MakeAnswer(1, true, {1}), MakeAnswer(2, false, {5}), MakeAnswer(3, std::nullopt, {7})};
  too_long_ = {&records_[1], &records_[2]};
  const auto rows = Rows();
  EXPECT_EQ(Value(Find(rows, "all", false), "accuracy"), 0);
  EXPECT_EQ(Find(rows, "all", false).records, 1);
  const auto alone = [&](const std::string& group) {
    return std::ranges::find_if(
        rows, [&](const Row& row) { return row.measure == "alone" && row.group == group; });
  };
  ASSERT_NE(alone("all"), rows.end());
  EXPECT_FALSE(alone("all")->setting->reference);
  EXPECT_EQ(alone("all")->records, 1);
  ASSERT_EQ(alone("all")->metrics.size(), 1u);
  EXPECT_EQ(Value(*alone("all"), "accuracy"), 0.5);
  EXPECT_EQ(alone("all")->metrics[0].count, 2);
  EXPECT_EQ(Value(*alone("first turn"), "accuracy"), 1);
  EXPECT_THAT(TablesOf(rows), HasSubstr("alone, all: 1 record, 2 questions"));
}

TEST_F(SummaryTest, IsReportedAsTablesJsonAndCsv) {
  AddPrompt("a, \"b\"", {1.0, {1, 2}}, {1.0 + std::log(2), {1, 3}});
  AddPrompt("c", {1.0, {1, 2}}, {1.0, {1, 2}});
  const auto rows = Rows();
  const std::string tables = TablesOf(rows);
  EXPECT_THAT(tables, StartsWith("perplexity, all: 2 records\n"));
  EXPECT_THAT(tables, HasSubstr("full 1        2.000    1.000"));
  EXPECT_THAT(tables, HasSubstr("h2o 0.2 bf16  0.250    1.414 [1.000, 2.000]"));
  const auto json = JsonOf(rows);
  ASSERT_EQ(json.size(), rows.size());
  EXPECT_EQ(json[1]["policy"], "h2o");
  EXPECT_EQ(json[1]["budget"], "0.2");
  EXPECT_EQ(json[1]["entry_type"], "bf16");
  EXPECT_EQ(json[1]["metrics"]["agreement"]["value"], 0.75);
  const std::string csv = CsvOf(rows);
  EXPECT_THAT(csv, HasSubstr("\nperplexity,all,h2o,0.2,bf16,prefill,false,0.25,2,agreement,0.75,"));
  EXPECT_THAT(csv, HasSubstr("\nperplexity,\"a, \"\"b\"\"\",h2o,"));
}

}  // namespace
}  // namespace concertina::eval
