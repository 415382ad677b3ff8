#include "server/engine/step_pace.h"

#include <gtest/gtest.h>

namespace concertina {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr StepPace::TimePoint kStart{seconds(1000)};

// Many decode steps of a length, until the average has it. Returns the end of the last.
StepPace::TimePoint Decode(StepPace& pace, StepPace::TimePoint now, milliseconds step) {
  for (int i = 0; i < 50; ++i) {
    pace.OnDecode(now, now + step);
    now += step;
  }
  return now;
}

TEST(StepPace, GivesAShareOfADecodeStep) {
  StepPace pace(0.8, seconds(1));
  const auto ten = Decode(pace, kStart, milliseconds(10));
  EXPECT_EQ(pace.PromptsUntil(ten, true), ten + milliseconds(8));
  // What else was done since the step counts, too.
  EXPECT_EQ(pace.PromptsUntil(ten + milliseconds(3), true), ten + milliseconds(8));
  const auto four = Decode(pace, ten, milliseconds(4));
  const auto until = pace.PromptsUntil(four, true);
  ASSERT_TRUE(until);
  EXPECT_NEAR(static_cast<double>((*until - four).count()), 3.2e6, 1e4);
}

TEST(StepPace, NeverExceedsTheMost) {
  StepPace pace(0.8, milliseconds(5));
  const auto now = Decode(pace, kStart, milliseconds(100));
  EXPECT_EQ(pace.PromptsUntil(now, true), now + milliseconds(5));
}

TEST(StepPace, AnOutlierCountsAsTwoSteps) {
  StepPace pace(1, seconds(1));
  auto now = Decode(pace, kStart, milliseconds(8));
  pace.OnDecode(now, now + seconds(1));
  now += seconds(1);
  EXPECT_EQ(pace.PromptsUntil(now, true), now + milliseconds(10));
}

TEST(StepPace, LeavesNobodyOutTwice) {
  StepPace pace(0.5, seconds(1));
  const auto end = Decode(pace, kStart, milliseconds(10));
  const auto late = end + milliseconds(7);  // commands took longer than the share
  EXPECT_EQ(pace.PromptsUntil(late, true), std::nullopt);
  EXPECT_EQ(pace.PromptsUntil(late, true), late) << "a smallest slice";
  EXPECT_EQ(pace.PromptsUntil(late, true), std::nullopt);
}

TEST(StepPace, WithoutAnswersItIsAMoment) {
  StepPace pace(0.5, seconds(1));
  const auto until = pace.PromptsUntil(kStart, false);
  ASSERT_TRUE(until);
  EXPECT_GE(*until, kStart + milliseconds(5));
  EXPECT_LE(*until, kStart + milliseconds(50));
  StepPace small(0.5, milliseconds(0));
  EXPECT_EQ(small.PromptsUntil(kStart, false), kStart);
}

}  // namespace
}  // namespace concertina
