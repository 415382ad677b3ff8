#include "client/eval/setting.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace concertina::eval {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Names(const std::vector<Setting>& settings) {
  std::vector<std::string> names;
  for (const Setting& setting : settings) names.push_back(setting.Name());
  return names;
}

TEST(Settings, AreTheCrossProductAfterTheReference) {
  const auto settings = MakeSettings({.policies = {"full", "concertina", "elastic:pure-sink"},
                                      .budgets = {"0.2", "256t"},
                                      .entry_types = {"default", "int8"}});
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_THAT(Names(*settings),
              ElementsAre("full 1", "full 1 int8", "concertina 0.2", "concertina 256t",
                          "concertina 0.2 int8", "concertina 256t int8", "elastic:pure-sink 0.2",
                          "elastic:pure-sink 256t", "elastic:pure-sink 0.2 int8",
                          "elastic:pure-sink 256t int8"));
  EXPECT_TRUE(settings->front().reference);
  EXPECT_FALSE(settings->at(1).reference);
  EXPECT_EQ(settings->front().budget.ratio(), 1);
  EXPECT_EQ(settings->at(1).policy.entry_type(), v1::ENTRY_TYPE_INT8);
  EXPECT_EQ(settings->at(3).budget.tokens(), 256);
  EXPECT_TRUE(settings->at(6).policy.pure_sink());
  EXPECT_EQ(settings->at(6).policy.name(), "elastic");
}

TEST(Settings, PicturesHaveBudgetsOfTheirOwn) {
  const auto settings = MakeSettings({.policies = {"concertina:images=0.2:merge-images"},
                                      .budgets = {"0.5"},
                                      .entry_types = {"default"}});
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->back().Name(), "concertina:images=0.2:merge-images 0.5");
  EXPECT_EQ(settings->back().policy.name(), "concertina");
  EXPECT_EQ(settings->back().policy.image_budget(), 0.2);
  EXPECT_TRUE(settings->back().policy.merge_images());
}

TEST(Settings, APolicyMayNameTheTypeOfItsEntries) {
  const auto settings =
      MakeSettings({.policies = {"h2o", "concertina:entries=packed", "full:entries=int8"},
                    .budgets = {"0.1", "0.2"},
                    .entry_types = {"bf16", "f32"}});
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_THAT(Names(*settings),
              ElementsAre("full 1", "h2o 0.1 bf16", "h2o 0.2 bf16", "h2o 0.1 f32", "h2o 0.2 f32",
                          "concertina 0.1 packed", "concertina 0.2 packed", "full 1 int8"));
  EXPECT_EQ(settings->at(5).policy.entry_type(), v1::ENTRY_TYPE_PACKED);
  EXPECT_EQ(settings->at(5).LineName(), "concertina packed");
  EXPECT_EQ(settings->back().policy.entry_type(), v1::ENTRY_TYPE_INT8);
  for (const std::string bad : {"h2o:entries=", "h2o:entries=int9"}) {
    EXPECT_FALSE(MakeSettings({.policies = {bad}, .budgets = {"1"}, .entry_types = {"bf16"}}).ok());
  }
}

TEST(Settings, OnesSaidTwiceAreMeasuredOnce) {
  const auto settings = MakeSettings({.policies = {"h2o", "h2o"},
                                      .budgets = {"0.2", "0.2"},
                                      .entry_types = {"bf16"},
                                      .fold = v1::SCORE_FOLD_DECODE});
  ASSERT_TRUE(settings.ok());
  EXPECT_THAT(Names(*settings), ElementsAre("full 1", "h2o 0.2 bf16 decode"));
  // Nothing is folded there.
  EXPECT_EQ(settings->front().fold, v1::SCORE_FOLD_PREFILL_ONLY);
}

TEST(Settings, RefuseWhatCannotBeRead) {
  const SettingChoices good{.policies = {"h2o"}, .budgets = {"0.2"}, .entry_types = {"bf16"}};
  EXPECT_TRUE(MakeSettings(good).ok());
  SettingChoices bad = good;
  bad.budgets = {"1.5"};
  EXPECT_THAT(MakeSettings(bad).status().ToString(), HasSubstr("1.5"));
  bad = good;
  bad.entry_types = {"int9"};
  EXPECT_THAT(MakeSettings(bad).status().ToString(), HasSubstr("int9"));
  for (const char* policy :
       {"", "elastic:sink", "elastic:merge=all", "elastic:merge", "concertina:images=0",
        "concertina:images=1.5", "concertina:images=x", "concertina:images"}) {
    bad = good;
    bad.policies = {policy};
    EXPECT_FALSE(MakeSettings(bad).ok()) << policy;
  }
  EXPECT_EQ(ParsePolicy("elastic:merge=v_only")->merge(), v1::MERGE_MODE_V_ONLY);
}

}  // namespace
}  // namespace concertina::eval
