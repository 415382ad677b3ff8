#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>

#include "server/metrics/engine_metrics.h"
#include "server/metrics/info_metrics.h"
#include "server/metrics/process_metrics.h"
#include "server/metrics/registry.h"
#include "server/metrics/rpc_metrics.h"

namespace concertina {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

struct CommandResult {
  int exit_code = -1;
  std::string output;
};

CommandResult RunCommand(const std::string& command) {
  CommandResult result;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return result;
  char buffer[4096];
  while (const size_t count = fread(buffer, 1, sizeof(buffer), pipe))
    result.output.append(buffer, count);
  result.exit_code = WEXITSTATUS(pclose(pipe));
  return result;
}

// A registry in which everything happened once.
class MetricsTest : public ::testing::Test {
 protected:
  MetricsTest() : registry_("tiny \"model\""), engine_(registry_), rpc_(registry_) {}

  void MoveEverything() {
    EngineGauges gauges;
    gauges.requests_running = 1;
    gauges.requests_waiting = 2;
    gauges.sessions_active = 3;
    gauges.sessions_busy = 4;
    gauges.draining = true;
    gauges.pool_used_bytes = 5;
    gauges.pool_reserved_bytes = 6;
    gauges.pool_capacity_bytes = 7;
    gauges.workspace_bytes = 8;
    gauges.transcript_bytes = 9;
    engine_.OnGauges(gauges);
    engine_.OnPrompt(10, 64);
    engine_.OnFold("concertina", 40, 0.2, 0.9, 0.01);
    TurnQuality quality{.measured = true, .mass_kept_lowest = 0.55, .raises = 2};
    quality.probe_tokens = 8;
    quality.agreeing = 7;
    quality.divergence = 0.16;
    quality.below_min_quality = true;
    engine_.OnQuality("concertina", quality);
    engine_.OnProbe(0.02);
    engine_.OnDecodeEviction("elastic", 3);
    engine_.OnReusedEntries(12);
    engine_.OnBatch(8);
    engine_.OnFirstToken(0.3);
    engine_.OnInterToken(0.01);
    engine_.OnVision(0.05);
    TurnTimings timings;
    timings.queue = milliseconds(1);
    timings.prefill = milliseconds(200);
    timings.decode = milliseconds(900);
    engine_.OnTurnEnd("stop", timings, 10, 0.2);
    engine_.OnSessionClosed("closed");
    engine_.OnRebuild();
    rpc_.OnRejected("QUEUE_FULL");
    rpc_.OnCall("Generate", "OK", 1.2);
    rpc_.OnRejected("CALL_LIMIT");
    rpc_.OnImageDecode(0.02);
    rpc_.OnWriteStall(0.1);
    AddInfoMetrics(registry_, {"0.1.0", "f32", "llava-1.5", "concertina", "0.2", "f32", 1 << 20});
    registry_.SampleGauge("weights_bytes", "Memory of the packed weights.", [] { return 11.0; });
    registry_.SampleGauge("process_resident_memory_bytes", "Resident memory of the process.",
                          ProcessResidentBytes);
  }

  // The value of a series, e.g. "kv_pool_used_bytes{model=\"m\"}"; labels as Prometheus sorts them.
  void ExpectSeries(const std::string& series, const std::string& value) {
    EXPECT_THAT(registry_.Text(), HasSubstr("\nconcertina_" + series + " " + value + "\n"));
  }

  MetricsRegistry registry_;
  EngineMetrics engine_;
  RpcMetrics rpc_;
};

TEST_F(MetricsTest, NumbersMove) {
  MoveEverything();
  const std::string model = R"(model="tiny \"model\"")";
  ExpectSeries("requests_running{" + model + "}", "1");
  ExpectSeries("requests_waiting{" + model + "}", "2");
  ExpectSeries("sessions_active{" + model + "}", "3");
  ExpectSeries("sessions_busy{" + model + "}", "4");
  ExpectSeries("draining{" + model + "}", "1");
  ExpectSeries("kv_pool_used_bytes{" + model + "}", "5");
  ExpectSeries("kv_pool_reserved_bytes{" + model + "}", "6");
  ExpectSeries("kv_pool_capacity_bytes{" + model + "}", "7");
  ExpectSeries("workspace_bytes{" + model + "}", "8");
  ExpectSeries("transcript_bytes{" + model + "}", "9");
  ExpectSeries("weights_bytes{" + model + "}", "11");
  ExpectSeries("prompt_tokens_total{" + model + R"(,modality="text"})", "10");
  ExpectSeries("prompt_tokens_total{" + model + R"(,modality="image"})", "64");
  ExpectSeries("generated_tokens_total{" + model + "}", "10");
  ExpectSeries("kv_reused_entries_total{" + model + "}", "12");
  ExpectSeries("session_rebuilds_total{" + model + "}", "1");
  ExpectSeries("sessions_closed_total{" + model + R"(,reason="closed"})", "1");
  ExpectSeries("generations_finished_total{" + model + R"(,reason="stop"})", "1");
  ExpectSeries("generations_finished_total{" + model + R"(,reason="deadline"})", "0");
  ExpectSeries("requests_rejected_total{" + model + R"(,reason="QUEUE_FULL"})", "1");
  ExpectSeries("requests_rejected_total{" + model + R"(,reason="CALL_LIMIT"})", "1");
  ExpectSeries("time_to_first_token_seconds_bucket{" + model + R"(,le="0.25"})", "0");
  ExpectSeries("time_to_first_token_seconds_bucket{" + model + R"(,le="0.5"})", "1");
  ExpectSeries("time_per_output_token_seconds_bucket{" + model + R"(,le="0.1"})", "1");
  ExpectSeries("batch_tokens_sum{" + model + "}", "8");
  const std::string policy = "{" + model + R"(,policy="concertina")";
  ExpectSeries("probe_agreement_ratio_sum" + policy + "}", "0.875");
  ExpectSeries("probe_kl_divergence_nats_sum{" + model + "}", "0.02");
  ExpectSeries("kv_attention_mass_kept_lowest_ratio_sum{" + model + "}", "0.55");
  ExpectSeries("quality_raises_total" + policy + "}", "2");
  ExpectSeries("quality_floor_missed_total" + policy + "}", "1");
  ExpectSeries("probe_duration_seconds_count{" + model + "}", "1");
}

TEST_F(MetricsTest, LabelsTellPhasesPoliciesMethodsAndCodesApart) {
  MoveEverything();
  const std::string text = registry_.Text();
  for (const char* label : {R"(phase="prefill")", R"(phase="decode")", R"(policy="concertina")",
                            R"(policy="elastic")", R"(method="Generate")", R"(code="OK")"}) {
    EXPECT_THAT(text, HasSubstr(label));
  }
}

TEST_F(MetricsTest, EveryNameOfTheDesignIsThere) {
  MoveEverything();
  const std::string text = registry_.Text();
  for (const char* name :
       {"requests_total", "request_duration_seconds", "inter_token_latency_seconds",
        "queue_duration_seconds", "prefill_duration_seconds", "fold_duration_seconds",
        "decode_duration_seconds", "image_decode_seconds", "vision_encode_seconds",
        "stream_write_stall_seconds", "kv_compression_ratio", "kv_attention_mass_kept_ratio",
        "session_kv_used_ratio", "build_info", "cache_config_info", "process_resident_memory_bytes",
        "kv_folded_entries_total"}) {
    EXPECT_THAT(text, HasSubstr(std::string("# TYPE concertina_") + name + " "));
  }
}

TEST_F(MetricsTest, PromtoolHasNothingToSay) {
  MoveEverything();
  auto port = registry_.Expose("127.0.0.1:0");
  ASSERT_TRUE(port.ok()) << port.status();
  const std::string file = ::testing::TempDir() + "concertina-metrics-" + std::to_string(getpid());
  std::ofstream(file) << registry_.Text();
  const CommandResult checked = RunCommand("promtool check metrics < " + file);
  unlink(file.c_str());
  EXPECT_EQ(checked.exit_code, 0) << checked.output;
  EXPECT_EQ(checked.output, "");
}

TEST_F(MetricsTest, ABusyAddressIsAnError) {
  auto port = registry_.Expose("127.0.0.1:0");
  ASSERT_TRUE(port.ok());
  MetricsRegistry other("other");
  EXPECT_FALSE(other.Expose("127.0.0.1:" + std::to_string(*port)).ok());
  registry_.StopExposing();
  EXPECT_TRUE(other.Expose("127.0.0.1:" + std::to_string(*port)).ok());
}

TEST(ProcessMemoryTest, IsKnown) { EXPECT_GT(ProcessResidentBytes(), 1 << 20); }

}  // namespace
}  // namespace concertina
