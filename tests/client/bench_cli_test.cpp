// `concertina bench` against a fake service: what it asks, and what it counts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <set>

#include "nlohmann/json.hpp"
#include "tests/client/fake_service.h"
#include "tests/client/process.h"

namespace concertina {
namespace {

using nlohmann::json;
using testing::FakeTurn;
using ::testing::HasSubstr;
using testing::MakeError;
using testing::MakeRefusal;
using testing::MakeTurn;
using ::testing::Not;
using testing::ProcessResult;

constexpr char kImage[] = CONCERTINA_SOURCE_DIR "/docs/demo/scene.png";

class BenchCliTest : public ::testing::Test {
 protected:
  ProcessResult Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "bench");
    return testing::RunCli(server_.target(), arguments);
  }
  json RunJson(std::vector<std::string> arguments) {
    arguments.emplace_back("--json");
    const auto result = Run(std::move(arguments));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return json::parse(result.out, nullptr, false);
  }

  testing::FakeServer server_;
  testing::FakeService& service_ = server_.service();
};

TEST_F(BenchCliTest, SaysSoManyTurnsInSoManySessions) {
  const json out = RunJson({"--sessions", "2", "--turns", "3", "--requests", "12", "--max-tokens",
                            "7", "--ignore-eos", "--budget", "256t", "--policy", "elastic",
                            "--image-size", "20x30", "40x50"});
  EXPECT_EQ(out["done"], 12);
  EXPECT_EQ(out["failed"], 0);
  EXPECT_EQ(out["prompt_tokens"], 12 * 120);
  EXPECT_EQ(out["image_tokens"], 12 * 100);
  EXPECT_EQ(out["ttft_ms"]["count"], 12);
  EXPECT_EQ(out["tpot_ms"]["count"], 0);  // "ok" is one token
  EXPECT_EQ(out["cache_used_bytes"]["median"], 25'600);
  EXPECT_EQ(out["cache_full_bytes"]["max"], 128'000);
  EXPECT_EQ(out["sessions"], service_.opened().size());
  EXPECT_EQ(service_.closed().size(), service_.opened().size());
  EXPECT_EQ(service_.opened().at(0).budget().tokens(), 256);
  EXPECT_EQ(service_.opened().at(0).policy().name(), "elastic");
  std::map<std::string, int> turns;
  std::set<std::string> texts;
  std::set<std::string> pictures;
  for (const auto& request : service_.asked()) {
    const int turn = turns[request.session_id()]++;
    EXPECT_LT(turn, 3);
    ASSERT_EQ(request.parts_size(), turn == 0 ? 2 : 1);
    if (turn == 0) pictures.insert(request.parts(0).image().data());
    texts.insert(request.parts().rbegin()->text());
    EXPECT_EQ(request.max_tokens(), 7);
    EXPECT_TRUE(request.ignore_eos());
  }
  EXPECT_EQ(texts.size(), 12u);
  EXPECT_EQ(pictures.size(), turns.size());
}

TEST_F(BenchCliTest, PrintsTheUsualTable) {
  service_.AddTurn(MakeTurn({"one ", "two ", "three"}));
  const auto result = Run({"--image", kImage});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("requests      1 done, 0 failed"));
  for (const char* row : {"TTFT, ms", "TPOT, ms", "ITL, ms", "E2E, ms", "cache used, KiB"}) {
    EXPECT_THAT(result.out, HasSubstr(row));
  }
  EXPECT_THAT(result.out, HasSubstr("cache full, KiB            125.00"));
  EXPECT_THAT(result.out, Not(HasSubstr("lag")));
  EXPECT_GT(service_.asked().at(0).parts(0).image().data().size(), 1'000);
  EXPECT_THAT(Run({"--help"}).out, HasSubstr("TPOT"));
}

TEST_F(BenchCliTest, WarmupIsNotCounted) {
  const json out = RunJson({"--warmup", "3", "--requests", "2"});
  EXPECT_EQ(out["done"], 2);
  EXPECT_EQ(service_.asked().size(), 5u);
}

TEST_F(BenchCliTest, CountsRefusalsByReasonAndHonoursTheirPause) {
  for (int i = 0; i < 2; ++i) service_.AddTurn(MakeRefusal("QUEUE_FULL", 200));
  service_.AddTurn(MakeTurn({"ok"}));
  const auto begin = std::chrono::steady_clock::now();
  const json out = RunJson({"--retries", "2"});
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(400));
  EXPECT_EQ(out["done"], 1);
  EXPECT_EQ(out["failed"], 0);
  EXPECT_EQ(out["refusals"]["QUEUE_FULL"], 2);
  EXPECT_EQ(out["retried"], 2);
  // The client waited from the first attempt on.
  EXPECT_GE(out["ttft_ms"]["mean"], 400);
}

TEST_F(BenchCliTest, WithoutRetriesARefusedRequestFailsAndItsSessionGoesOn) {
  service_.AddTurn(MakeRefusal("POOL_EXHAUSTED", 10));
  const json out = RunJson({"--turns", "2", "--requests", "3"});
  EXPECT_EQ(out["done"], 2);
  EXPECT_EQ(out["failures"], (json{{"POOL_EXHAUSTED", 1}}));
  EXPECT_EQ(out["refusals"], (json{{"POOL_EXHAUSTED", 1}}));
  EXPECT_EQ(out["retried"], 0);
  EXPECT_EQ(service_.opened().size(), 1u);
  EXPECT_EQ(service_.asked().at(1).session_id(), service_.asked().at(0).session_id());
}

TEST_F(BenchCliTest, OtherFailuresAndSessionsThatCannotBeOpenedAreNamed) {
  service_.AddTurn({{}, MakeError(grpc::NOT_FOUND, "gone", "SESSION_NOT_FOUND")});
  FakeTurn held = MakeTurn({"some "});
  held.events.pop_back();
  held.hold = true;
  service_.AddTurn(held);
  service_.AddOpenStatus(MakeError(grpc::RESOURCE_EXHAUSTED, "full", "SESSION_LIMIT", "", 10));
  const json out = RunJson({"--timeout", "3", "--turns", "2", "--requests", "4"});
  EXPECT_EQ(out["done"], 1);
  EXPECT_EQ(out["failed"], 3);
  EXPECT_EQ(out["failures"],
            (json{{"DEADLINE_EXCEEDED", 1}, {"SESSION_LIMIT", 1}, {"SESSION_NOT_FOUND", 1}}));
  EXPECT_EQ(out["refusals"], (json{{"SESSION_LIMIT", 1}}));
  EXPECT_EQ(out["ttft_ms"]["count"], 1);
}

TEST_F(BenchCliTest, HoldsTheRateAndTheConcurrency) {
  const json out = RunJson(
      {"--sessions", "4", "--rate", "40", "--duration", "0.5", "--turns", "1000", "--seed", "3"});
  // Poisson with mean 20; six deviations.
  EXPECT_GE(out["done"], 1);
  EXPECT_LE(out["done"], 47);
  EXPECT_EQ(out["lag_ms"]["count"], out["done"]);
  const std::vector<std::string> one{"--sessions", "4", "--concurrency", "1",    "--requests", "2",
                                     "--timeout",  "3", "--turns",       "1000", "--json"};
  FakeTurn held = MakeTurn({"some "});
  held.events.pop_back();
  held.hold = true;
  service_.AddTurn(held);
  const size_t before = service_.asked().size();
  const auto begin = std::chrono::steady_clock::now();
  const auto result = Run(one);
  // The second turn was not sent before the first had met its deadline.
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::seconds(3));
  EXPECT_EQ(service_.asked().size() - before, 2u);
  EXPECT_LT(json::parse(result.out)["e2e_ms"]["max"], 2500);
}

TEST_F(BenchCliTest, CtrlCEndsTheRunAndShowsWhatWasMeasured) {
  FakeTurn held = MakeTurn({"some "});
  held.events.pop_back();
  held.hold = true;
  for (const char* warmup : {"0", "1"}) {
    const size_t before = service_.asked().size();
    if (*warmup == '0') service_.AddTurn(MakeTurn({"done"}));
    service_.AddTurn(held);
    testing::TerminalProcess bench(server_.target(),
                                   {"bench", "--requests", "100", "--warmup", warmup});
    const size_t until_held = *warmup == '0' ? 2 : 1;
    ASSERT_TRUE(service_.WaitForAsked(before + until_held));
    bench.Type("\x03");
    if (*warmup == '0') {
      EXPECT_TRUE(bench.WaitFor("requests      1 done, 0 failed")) << bench.output();
    }
    EXPECT_EQ(bench.WaitForExit(), 130);
    EXPECT_EQ(service_.asked().size(), before + until_held);
  }
  EXPECT_TRUE(service_.WaitForCancelled(2));
}

TEST_F(BenchCliTest, NothingAnsweredIsAFailureAndNoServerExit3) {
  for (int i = 0; i < 2; ++i) {
    service_.AddTurn({{}, MakeError(grpc::FAILED_PRECONDITION, "blind", "NO_VISION")});
  }
  const auto result = Run({"--requests", "2"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out, HasSubstr("failed        2 NO_VISION"));
  EXPECT_EQ(testing::RunCli("127.0.0.1:1", {"bench"}).exit_code, 3);
  EXPECT_EQ(Run({"--image-size", "0x5"}).exit_code, 2);
  EXPECT_EQ(Run({"--image", "no/such/file.png"}).exit_code, 2);
  EXPECT_EQ(Run({"--image", kImage, "--image-size", "5x5"}).exit_code, 2);
  EXPECT_EQ(Run({"--rate", "0"}).exit_code, 2);
}

}  // namespace
}  // namespace concertina
