#include "client/cli/text.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <functional>

#include "client/budget_text.h"
#include "client/cli/verify.h"
#include "tests/client/fake_service.h"

namespace concertina::cli {
namespace {

TEST(BudgetTextTest, ReadsWhatPeopleWrite) {
  EXPECT_EQ(client::ParseBudget("0.2")->ratio(), 0.2);
  EXPECT_EQ(client::ParseBudget("1")->ratio(), 1.0);
  EXPECT_EQ(client::ParseBudget("256t")->tokens(), 256);
  EXPECT_EQ(client::ParseBudget("64MiB")->bytes(), 64 << 20);
  EXPECT_EQ(client::ParseBudget("3KiB")->bytes(), 3072);
  EXPECT_EQ(client::ParseBudget("5B")->bytes(), 5);
  for (const char* text : {"0.2", "1", "256t", "64MiB", "2GiB", "1000B"}) {
    EXPECT_EQ(client::FormatBudget(*client::ParseBudget(text)), text);
  }
  EXPECT_EQ(client::FormatBudget(v1::Budget()), "default");
}

TEST(BudgetTextTest, RefusesTheRest) {
  for (const char* text : {"", "0", "-0.1", "1.01", "nan", "inf", "20%", "0t", "-1t", "1.5t", "t",
                           "MiB", "0MiB", "-1B", "64MB", "99999999999GiB", "0.2 ", "0x1"}) {
    EXPECT_FALSE(client::ParseBudget(text).ok()) << text;
  }
}

TEST(TextTest, FormatsNumbers) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1000), "1,000");
  EXPECT_EQ(FormatCount(-1234567), "-1,234,567");
  EXPECT_EQ(FormatBytes(512), "512 B");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatBytes(int64_t{3} << 30), "3.0 GiB");
}

TEST(TextTest, NothingMovesTheCursor) {
  EXPECT_EQ(PrintableText("a\tb\n\xc3\xa9 \xe2\x82\xac"), "a\tb\n\xc3\xa9 \xe2\x82\xac");
  EXPECT_EQ(PrintableText("\x1b[2J"), "\xef\xbf\xbd[2J");
  EXPECT_EQ(PrintableText("\xc2\x9b"), "\xef\xbf\xbd");
  EXPECT_EQ(PrintableText("\r\x7f"), "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(TextTest, ReadsFilesUpToALimit) {
  const std::string path = ::testing::TempDir() + "client_text_test-" + std::to_string(getpid());
  std::ofstream(path) << "12345";
  EXPECT_EQ(*ReadFile(path, 5), "12345");
  EXPECT_FALSE(ReadFile(path, 4).ok());
  EXPECT_FALSE(ReadFile(path + ".absent", 5).ok());
  EXPECT_FALSE(ReadFile(::testing::TempDir(), 5).ok());
  unlink(path.c_str());
}

client::Answer MakeAnswer() {
  client::Answer answer;
  for (const auto& event : testing::MakeTurn({"yes"}).events) {
    if (event.has_folded()) answer.folded = event.folded();
    if (event.has_completed()) answer.completed = event.completed();
  }
  answer.text = "yes";
  return answer;
}

TEST(TextTest, TheCacheLineSumsTheLayers) {
  client::Answer answer = MakeAnswer();
  EXPECT_EQ(
      CacheLine(answer),
      "cache 2,000 → 400 entries, 125.0 KiB → 25.0 KiB, ratio 0.200 of full, mass kept 0.750, "
      "first token 0.25 s, 42.5 tok/s");
  answer.stopped = true;
  answer.folded.reset();
  EXPECT_EQ(CacheLine(answer), "cache not folded, stopped");
}

TEST(TextTest, TheQualityLineSaysWhatAProbeFound) {
  v1::Quality quality;
  quality.set_attention_mass_kept(0.9);
  EXPECT_EQ(QualityLine(quality), "");
  quality.mutable_probe()->set_tokens(8);
  quality.mutable_probe()->set_agreement(0.875);
  quality.mutable_probe()->set_kl_divergence(0.03125);
  EXPECT_EQ(QualityLine(quality), "quality 7 of 8 agree, KL 0.0312");
  quality.set_lowest_attention_mass_kept(0.5);
  quality.set_lowest_layer(3);
  quality.set_raised_for_quality(true);
  quality.set_below_min_quality(true);
  EXPECT_EQ(QualityLine(quality),
            "quality 7 of 8 agree, KL 0.0312, mass kept at least 0.500 (layer 3), budget raised, "
            "below the floor");
}

TEST(VerifyTest, AcceptsAConsistentTurnOnly) {
  EXPECT_TRUE(VerifyTurn(MakeAnswer(), testing::kFakeLayers).ok());
  const std::vector<std::function<void(client::Answer&)>> breaks = {
      [](client::Answer& a) { a.text = " \n"; },
      [](client::Answer& a) { a.stopped = true; },
      [](client::Answer& a) { a.folded.reset(); },
      [](client::Answer& a) { a.folded->mutable_layers()->RemoveLast(); },
      [](client::Answer& a) { a.folded->mutable_layers(0)->set_entries_after(199); },
      [](client::Answer& a) { a.folded->mutable_layers(0)->set_bytes_after(1); },
      [](client::Answer& a) { a.folded->mutable_layers(0)->set_entries_before(100); },
      [](client::Answer& a) { a.folded->mutable_layers(0)->set_attention_mass_kept(NAN); },
      [](client::Answer& a) { a.folded->mutable_cache()->set_budget_entries(399); },
      [](client::Answer& a) { a.completed.mutable_cache()->set_live_entries(411); },
      [](client::Answer& a) { a.completed.mutable_cache()->set_live_entries(0); },
      [](client::Answer& a) { a.completed.mutable_cache()->mutable_budget()->set_bytes(25599); },
  };
  for (size_t i = 0; i < breaks.size(); ++i) {
    client::Answer answer = MakeAnswer();
    breaks[i](answer);
    EXPECT_FALSE(VerifyTurn(answer, testing::kFakeLayers).ok()) << "break " << i;
  }
}

}  // namespace
}  // namespace concertina::cli
