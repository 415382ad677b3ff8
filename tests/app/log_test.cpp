// What the log says of calls and of the engine's doings, and how often.
#include "server/app/log.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "server/app/engine_log.h"

namespace concertina {
namespace {

using Json = nlohmann::json;

class FakeClock final : public Clock {
 public:
  std::chrono::steady_clock::time_point Now() const override { return now; }
  std::chrono::steady_clock::time_point now =
      std::chrono::steady_clock::time_point() + std::chrono::hours(1);
};

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(LogTest, EveryLineOfACallHasItsIds) {
  ::testing::internal::CaptureStderr();
  {
    Log text(LogFormat::kText, "info");
    text.Call({"Generate", "OK", "", "r-1", "s-1", 0.25});
    text.Call({"Generate", "NOT_FOUND", "SESSION_NOT_FOUND", "r-2", "", 0.25});
    Log json(LogFormat::kJson, "info");
    json.Call({"Generate", "INTERNAL", "", "r-3", "s-3", 0.25});
  }
  const auto lines = Lines(::testing::internal::GetCapturedStderr());
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_TRUE(lines[0].ends_with("I Generate OK 250.0 ms session=s-1 request=r-1")) << lines[0];
  EXPECT_TRUE(lines[1].ends_with(
      "Generate NOT_FOUND 250.0 ms reason=SESSION_NOT_FOUND session=- request=r-2"))
      << lines[1];
  const Json line = Json::parse(lines[2]);
  EXPECT_EQ(line["level"], "error");
  EXPECT_EQ(line["session_id"], "s-3");
  EXPECT_EQ(line["request_id"], "r-3");
  EXPECT_EQ(line["seconds"], 0.25);
}

TEST(LogTest, LevelsAreKept) {
  ::testing::internal::CaptureStderr();
  {
    Log log(LogFormat::kJson, "warning");
    log.Debug("a");
    log.Info("b");
    log.Call({"Generate", "OK", "", "r", "s", 0.1});
    log.Warning("c");
    log.Error("d");
  }
  const auto lines = Lines(::testing::internal::GetCapturedStderr());
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(Json::parse(lines[0])["level"], "warning");
  EXPECT_EQ(Json::parse(lines[0])["message"], "c");
  EXPECT_EQ(Json::parse(lines[1])["level"], "error");
}

TEST(EngineLogTest, AThousandEventsAreOneLineASecond) {
  ::testing::internal::CaptureStderr();
  const auto clock = std::make_shared<FakeClock>();
  MetricsRegistry registry("m");
  {
    Log log(LogFormat::kText, "debug");
    EngineLog events(registry, {}, log, clock);
    for (int i = 0; i < 10; ++i) {
      for (int j = 0; j < 100; ++j) events.OnEvicted("pool", 4096);
      events.OnGauges({});
      clock->now += std::chrono::milliseconds(50);
    }
    events.OnSessionClosed("expired");
    events.OnSessionClosed("closed");
    events.OnRebuild();
    clock->now += std::chrono::seconds(1);
    events.OnGauges({});
    events.OnGauges({});
  }
  const auto lines = Lines(::testing::internal::GetCapturedStderr());
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_TRUE(lines[0].ends_with("gave up idle caches: count=100 freed_bytes=409600 reason=pool"));
  EXPECT_TRUE(lines[1].ends_with("gave up idle caches: count=900 freed_bytes=3686400 reason=pool"));
  EXPECT_TRUE(lines[2].ends_with("closed idle sessions: count=1")) << lines[2];
  EXPECT_TRUE(lines[3].ends_with("computed caches again: count=1")) << lines[3];
}

TEST(EngineLogTest, DrainingIsSaidOnceAndItsEndToo) {
  ::testing::internal::CaptureStderr();
  MetricsRegistry registry("m");
  {
    Log log(LogFormat::kText, "info");
    EngineLog events(registry, {}, log, std::make_shared<FakeClock>());
    EngineGauges gauges;
    gauges.requests_running = 2;
    events.OnGauges(gauges);
    gauges.draining = true;
    events.OnGauges(gauges);
    events.OnGauges(gauges);
    gauges.requests_running = 0;
    events.OnGauges(gauges);
    events.OnGauges(gauges);
  }
  const auto lines = Lines(::testing::internal::GetCapturedStderr());
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_TRUE(lines[0].ends_with("draining: 2 turns running")) << lines[0];
  EXPECT_TRUE(lines[1].ends_with("drained: no turn is running")) << lines[1];
}

}  // namespace
}  // namespace concertina
