#include "server/app/units.h"

#include <gtest/gtest.h>

namespace concertina {
namespace {

using std::chrono::milliseconds;

TEST(UnitsTest, BytesNeedWholeNumbersAndBinaryUnits) {
  EXPECT_EQ(*ParseBytes("512MiB"), int64_t{512} << 20);
  EXPECT_EQ(*ParseBytes("2GiB"), int64_t{2} << 30);
  EXPECT_EQ(*ParseBytes("1KiB"), 1024);
  EXPECT_EQ(*ParseBytes("77"), 77);
  EXPECT_EQ(*ParseBytes("77B"), 77);
  for (const char* bad :
       {"", "MiB", "0", "0MiB", "-1", "1.5GiB", "1MB", "1 MiB", "9999999999GiB", "1e3", "x"}) {
    EXPECT_FALSE(ParseBytes(bad).ok()) << bad;
  }
  for (const char* text : {"512MiB", "2GiB", "1KiB", "77B", "1025B"}) {
    EXPECT_EQ(FormatBytes(*ParseBytes(text)), text);
  }
}

TEST(UnitsTest, BudgetsComeInThreeUnitsAndBack) {
  EXPECT_EQ(ParseBudgetText("0.2")->ratio, 0.2);
  EXPECT_EQ(ParseBudgetText("1")->ratio, 1.0);
  EXPECT_EQ(ParseBudgetText("256t")->tokens, 256);
  EXPECT_EQ(ParseBudgetText("64MiB")->bytes, 64 << 20);
  for (const char* bad :
       {"", "t", "0t", "-1t", "1.5t", "0", "1.1", "-0.2", "nan", "inf", "0MiB", "a"}) {
    EXPECT_FALSE(ParseBudgetText(bad).ok()) << bad;
  }
  for (const char* text : {"0.2", "256t", "64MiB", "3GiB", "1000B"}) {
    EXPECT_EQ(FormatBudget(*ParseBudgetText(text)), text);
  }
}

TEST(UnitsTest, TimesComeInFourUnitsAndBack) {
  EXPECT_EQ(*ParseDuration("500ms"), milliseconds(500));
  EXPECT_EQ(*ParseDuration("1.5s"), milliseconds(1500));
  EXPECT_EQ(*ParseDuration("1.5"), milliseconds(1500));
  EXPECT_EQ(*ParseDuration("5m"), milliseconds(300'000));
  EXPECT_EQ(*ParseDuration("2h"), milliseconds(7'200'000));
  EXPECT_EQ(*ParseDuration("0"), milliseconds(0));
  for (const char* bad :
       {"", "s", "-1s", "nan", "inf", "1e300", "9000h", "1 s", "1d", "5 m", "0x10", "1m30s"}) {
    EXPECT_FALSE(ParseDuration(bad).ok()) << bad;
  }
  for (const char* text : {"500ms", "90s", "5m", "2h", "0", "1500ms"}) {
    EXPECT_EQ(FormatDuration(*ParseDuration(text)), text);
  }
}

}  // namespace
}  // namespace concertina
