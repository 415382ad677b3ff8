// The load generator's parts: figures from known data, arrivals, pictures, prompts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <png.h>

#include <cmath>
#include <set>

#include "client/bench/distribution.h"
#include "client/bench/load.h"
#include "client/bench/pacer.h"
#include "client/bench/picture.h"
#include "client/bench/prompt_maker.h"
#include "client/bench/turn_timer.h"
#include "tests/client/fake_service.h"

namespace concertina::bench {
namespace {

using std::chrono::milliseconds;
using ::testing::DoubleEq;
using ::testing::DoubleNear;
using ::testing::ElementsAre;

TEST(DistributionTest, PercentilesLieBetweenTheNearestValues) {
  // numpy.percentile([15, 20, 35, 40, 50], [0, 40, 50, 95, 99, 100])
  const std::vector<double> values{15, 20, 35, 40, 50};
  EXPECT_DOUBLE_EQ(Percentile(values, 0), 15);
  EXPECT_DOUBLE_EQ(Percentile(values, 0.4), 29);
  EXPECT_DOUBLE_EQ(Percentile(values, 0.5), 35);
  EXPECT_DOUBLE_EQ(Percentile(values, 0.95), 48);
  EXPECT_DOUBLE_EQ(Percentile(values, 0.99), 49.6);
  EXPECT_DOUBLE_EQ(Percentile(values, 1), 50);
  EXPECT_DOUBLE_EQ(Percentile({7}, 0.99), 7);
}

TEST(DistributionTest, DescribesUnsortedValues) {
  std::vector<double> values;
  for (int i = 0; i < 101; ++i) values.push_back((i * 37) % 101);  // 0 to 100, mixed
  const Distribution out = Describe(values);
  EXPECT_EQ(out.count, 101);
  EXPECT_DOUBLE_EQ(out.mean, 50);
  EXPECT_DOUBLE_EQ(out.median, 50);
  EXPECT_DOUBLE_EQ(out.p95, 95);
  EXPECT_DOUBLE_EQ(out.p99, 99);
  EXPECT_DOUBLE_EQ(out.max, 100);
  EXPECT_DOUBLE_EQ(Describe({1, 2}).median, 1.5);
  EXPECT_EQ(Describe({}).count, 0);
}

TEST(TurnTimerTest, SplitsTheGapBeforeJoinedTokens) {
  const Clock::time_point sent;
  TurnTimer timer(sent);
  timer.Add(0, sent + milliseconds(5));  // a character that is not complete has no token
  timer.Add(2, sent + milliseconds(100));
  timer.Add(1, sent + milliseconds(130));
  timer.Add(3, sent + milliseconds(190));
  const TurnTimes& times = timer.End(sent + milliseconds(200));
  EXPECT_DOUBLE_EQ(times.first_token, 0.1);
  EXPECT_DOUBLE_EQ(times.last_token, 0.19);
  EXPECT_DOUBLE_EQ(times.end, 0.2);
  EXPECT_EQ(times.tokens, 6);
  EXPECT_THAT(times.inter_token, ElementsAre(DoubleNear(0.03, 1e-12), DoubleNear(0.02, 1e-12),
                                             DoubleNear(0.02, 1e-12), DoubleNear(0.02, 1e-12)));
  EXPECT_NEAR(times.PerOutputToken(), 0.09 / 5, 1e-12);
}

TEST(CollectorTest, AddsUpAnswersFailuresAndCaches) {
  Collector collector;
  v1::Usage usage;
  usage.set_prompt_tokens(30);
  usage.set_image_tokens(20);
  usage.set_generated_tokens(4);
  TurnTimes times{.first_token = 0.5, .last_token = 0.8, .end = 1, .inter_token = {0.1, 0.2}};
  times.tokens = 3;
  collector.Answered(times, usage, 0.25);
  times = {.end = 3};  // an empty answer has no latency of tokens
  usage.set_generated_tokens(0);
  collector.Answered(times, usage, 0);
  collector.Refused(absl::ResourceExhaustedError("no reason"), true);
  collector.Failed(absl::DeadlineExceededError("late"));
  v1::CacheState cache;
  cache.set_used_bytes(100);
  cache.set_full_bytes(500);
  collector.SessionEnded(cache);
  const Report report = collector.Finish(2);
  EXPECT_EQ(report.done, 2);
  EXPECT_EQ(report.failed, 1);
  EXPECT_EQ(report.retried, 1);
  EXPECT_EQ(report.failures.at("DEADLINE_EXCEEDED"), 1);
  EXPECT_EQ(report.refusals.at("RESOURCE_EXHAUSTED"), 1);
  EXPECT_EQ(report.prompt_tokens, 60);
  EXPECT_EQ(report.image_tokens, 40);
  EXPECT_EQ(report.output_tokens, 4);
  EXPECT_DOUBLE_EQ(report.requests_per_s(), 1);
  EXPECT_DOUBLE_EQ(report.output_tokens_per_s(), 2);
  EXPECT_DOUBLE_EQ(report.tokens_per_s(), 32);
  EXPECT_EQ(report.first_token.count, 1);
  EXPECT_DOUBLE_EQ(report.per_output_token.mean, 0.15);
  EXPECT_DOUBLE_EQ(report.inter_token.mean, 0.15);
  EXPECT_DOUBLE_EQ(report.end_to_end.mean, 2);
  EXPECT_DOUBLE_EQ(report.lag.max, 0.25);
  EXPECT_DOUBLE_EQ(report.used_bytes.mean, 100);
  EXPECT_DOUBLE_EQ(report.full_bytes.mean, 500);
  EXPECT_EQ(Collector().Finish(0).requests_per_s(), 0);
}

std::vector<double> Arrivals(const Pacer::Options& options) {
  Pacer pacer(options);
  std::vector<double> due;
  while (const auto next = pacer.Next(Pacer::Offset(0))) due.push_back(next->count());
  return due;
}

TEST(PacerTest, ArrivalsAreAPoissonProcessOfTheRateAndSeed) {
  const Pacer::Options options{.rate = 50, .seed = 7, .requests = 20'001};
  const auto due = Arrivals(options);
  ASSERT_EQ(due.size(), 20'001u);
  EXPECT_EQ(due[0], 0);
  // Exponential gaps: mean and deviation are both 1/rate, and e^-1 of them are longer. Within five
  // standard errors.
  double sum = 0;
  double squares = 0;
  int longer = 0;
  const int gaps = 20'000;
  for (size_t i = 1; i < due.size(); ++i) {
    const double gap = due[i] - due[i - 1];
    ASSERT_GE(gap, 0);
    sum += gap;
    squares += gap * gap;
    longer += gap > 0.02 ? 1 : 0;
  }
  const double mean = sum / gaps;
  EXPECT_NEAR(mean, 0.02, 5 * 0.02 / std::sqrt(gaps));
  EXPECT_NEAR(std::sqrt(squares / gaps - mean * mean), 0.02, 5 * 0.02 / std::sqrt(gaps / 2.0));
  EXPECT_NEAR(static_cast<double>(longer) / gaps, std::exp(-1), 5 * 0.48 / std::sqrt(gaps));
  EXPECT_EQ(Arrivals(options), due);
  Pacer::Options other = options;
  other.seed = 8;
  EXPECT_NE(Arrivals(other), due);
}

TEST(PacerTest, EndsWithTheRequestsOrTheTime) {
  EXPECT_THAT(Arrivals({.requests = 3}), ElementsAre(0, 0, 0));
  const auto due = Arrivals({.rate = 1'000, .seed = 1, .last = Pacer::Offset(0.5)});
  EXPECT_GT(due.size(), 400u);
  EXPECT_LT(due.size(), 600u);
  EXPECT_LE(due.back(), 0.5);
  Pacer pacer({.last = Pacer::Offset(0.5)});
  EXPECT_TRUE(pacer.Next(Pacer::Offset(0.5)).has_value());
  EXPECT_FALSE(pacer.Next(Pacer::Offset(0.6)).has_value());
}

TEST(PictureTest, SizesAreChecked) {
  const auto size = ParsePictureSize("640x480");
  ASSERT_TRUE(size.ok());
  EXPECT_EQ(size->width, 640);
  EXPECT_EQ(size->height, 480);
  for (const char* text : {"", "x", "640", "640x", "x480", "1x5", "640x16385", "640x480x3", "6 4x5",
                           "-640x480", "99999999999x5", "640X480"}) {
    EXPECT_FALSE(ParsePictureSize(text).ok()) << text;
  }
}

TEST(PictureTest, IsAPngOfTheSizeAndItsOwnForEverySeed) {
  std::set<std::string> files;
  for (const PictureSize size : {PictureSize{2, 2}, PictureSize{2, 300}, PictureSize{333, 47}}) {
    for (uint64_t seed = 0; seed < 50; ++seed) {
      const auto file = MakePicture(size, seed);
      ASSERT_TRUE(file.ok()) << file.status();
      EXPECT_EQ(*file, *MakePicture(size, seed));
      files.insert(*file);
      png_image image{};
      image.version = PNG_IMAGE_VERSION;
      ASSERT_NE(png_image_begin_read_from_memory(&image, file->data(), file->size()), 0);
      EXPECT_EQ(image.width, static_cast<png_uint_32>(size.width));
      EXPECT_EQ(image.height, static_cast<png_uint_32>(size.height));
      image.format = PNG_FORMAT_RGB;
      std::vector<uint8_t> pixels(PNG_IMAGE_SIZE(image));
      EXPECT_NE(png_image_finish_read(&image, nullptr, pixels.data(), 0, nullptr), 0);
    }
  }
  EXPECT_EQ(files.size(), 150u);
}

TEST(PromptMakerTest, TextsHaveTheTokensAskedFor) {
  // The fake's tokens are bytes.
  testing::FakeServer server;
  const auto client = client::Client::Connect(server.target());
  const auto prompts = PromptMaker::Make(*client, 200);
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  std::set<std::string> texts;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const std::string text = prompts->Text(seed);
    EXPECT_EQ(text, prompts->Text(seed));
    // The shortest word behind a space makes four.
    EXPECT_NEAR(static_cast<double>(text.size()), 200, 4) << text;
    texts.insert(text);
  }
  EXPECT_EQ(texts.size(), 100u);
  EXPECT_FALSE(PromptMaker::Make(*client, 1)->Text(0).empty());
}

}  // namespace
}  // namespace concertina::bench
