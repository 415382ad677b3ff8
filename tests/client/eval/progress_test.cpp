#include "client/eval/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace concertina::eval {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class ProgressTest : public ::testing::Test {
 protected:
  Progress::Options Options(bool terminal) {
    return {.total = 10,
            .kept = 2,
            .terminal = terminal,
            .now = [this] { return now_; },
            .write = [this](const std::string& text) { out_ += text; },
            .printable = [](const std::string& text) { return "<" + text + ">"; }};
  }

  double now_ = 100;
  std::string out_;
};

TEST_F(ProgressTest, PlainLinesComeNowAndThenWithTheTimeLeft) {
  Progress progress(Options(false));
  now_ = 104;
  progress.Done("h2o 0.1");
  EXPECT_EQ(out_, "");
  now_ = 120;  // two cells in 20 s, six are left
  progress.Done("h2o 0.2");
  EXPECT_EQ(out_, "4 of 10 cells, 40 %, 0:01:00 left (h2o 0.2)\n");
  out_.clear();
  progress.Note("x");
  EXPECT_EQ(out_, "<x>\n");
  for (int i = 0; i < 6; ++i) progress.Done("h2o 0.5");
  out_.clear();
  progress.End();
  EXPECT_EQ(out_, "10 of 10 cells, 100 %\n");
  // Not the same line twice.
  progress.End();
  EXPECT_EQ(out_, "10 of 10 cells, 100 %\n");
}

TEST_F(ProgressTest, ATerminalHasABarInOneLine) {
  Progress progress(Options(true));
  now_ = 101;
  progress.Done("h2o 0.1");
  EXPECT_THAT(out_, StartsWith("\r\x1b[K[#######................."));
  EXPECT_THAT(out_, HasSubstr("] 3 of 10 cells, 30 %, 0:00:07 left (h2o 0.1)"));
  EXPECT_EQ(out_.find('\n'), std::string::npos);
  progress.End();
  EXPECT_THAT(out_, EndsWith("\n"));
}

TEST(FormatSecondsTest, HasHoursMinutesSeconds) {
  EXPECT_EQ(FormatSeconds(0), "0:00:00");
  EXPECT_EQ(FormatSeconds(59.6), "0:01:00");
  EXPECT_EQ(FormatSeconds(37'230), "10:20:30");
}

}  // namespace
}  // namespace concertina::eval
