// The load generator and the newer calls against a server process.
#include <gtest/gtest.h>

#include <memory>

#include "client/client.h"
#include "nlohmann/json.hpp"
#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

using nlohmann::json;

TEST(BenchOnAServer, MeasuresConversationsAboutPictures) {
  auto server = ServerProcess::Start(TinyLlava());
  ASSERT_TRUE(server.ok()) << server.status();
  const CommandResult run =
      RunCli(**server,
             {"bench",        "--sessions", "3",      "--turns",         "2",  "--requests",   "12",
              "--image-size", "64x48",      "100x30", "--prompt-tokens", "20", "--max-tokens", "6",
              "--ignore-eos", "--budget",   "0.5",    "--warmup",        "2",  "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  const json out = json::parse(run.output, nullptr, false);
  ASSERT_TRUE(out.is_object()) << run.output;
  EXPECT_EQ(out["done"], 12);
  EXPECT_EQ(out["failed"], 0);
  EXPECT_EQ(out["output_tokens"], 12 * 6);
  EXPECT_EQ(out["ttft_ms"]["count"], 12);
  EXPECT_EQ(out["tpot_ms"]["count"], 12);
  EXPECT_GT(out["image_tokens"], 0);
  EXPECT_GT(out["prompt_tokens"], out["image_tokens"].get<int64_t>() + 12 * 20);
  for (const char* name : {"ttft_ms", "tpot_ms", "itl_ms", "e2e_ms"}) {
    EXPECT_GT(out[name]["mean"], 0) << name;
    EXPECT_LE(out[name]["median"], out[name]["p95"]) << name;
    EXPECT_LE(out[name]["p95"], out[name]["p99"]) << name;
    EXPECT_LE(out[name]["p99"], out[name]["max"]) << name;
  }
  EXPECT_LT(out["ttft_ms"]["max"], out["e2e_ms"]["max"]);
  EXPECT_GT(out["cache_used_bytes"]["mean"], 0);
  EXPECT_LT(out["cache_used_bytes"]["mean"], out["cache_full_bytes"]["mean"]);
  EXPECT_EQ((*server)->Gauge("sessions_active", 0), 0);
}

}  // namespace
}  // namespace concertina::testing
