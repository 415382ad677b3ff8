#include "server/app/server_config.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "server/app/units.h"

namespace concertina {
namespace {

ParsedArguments Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "concertina-server");
  return ParseArguments(static_cast<int>(arguments.size()), arguments.data());
}

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

TEST(ServerConfigTest, DefaultsServeTheBundledModel) {
  const ParsedArguments parsed = Parse({});
  ASSERT_FALSE(parsed.exit_code.has_value()) << parsed.message;
  EXPECT_NE(parsed.config.model.find("SmolLM2-135M-Instruct.Q4_1.gguf"), std::string::npos);
  EXPECT_NE(parsed.config.vision.find("smollm2-135m-vision"), std::string::npos);
  EXPECT_EQ(parsed.config.listen, "127.0.0.1:50051");
  EXPECT_EQ(parsed.config.metrics_listen, "127.0.0.1:9464");
  EXPECT_EQ(parsed.config.engine.default_policy, "concertina");
  EXPECT_EQ(parsed.config.engine.default_budget.ratio, 0.2);
  EXPECT_GE(parsed.config.engine.threads, 1);
  EXPECT_EQ(parsed.config.weights == MatrixType::kBf16, HasFastBf16());
  EXPECT_EQ(parsed.config.engine.default_entry_type == EntryType::kBf16, HasFastBf16());
}

TEST(ServerConfigTest, FlagsAreUnderstood) {
  const ParsedArguments parsed = Parse(
      {"--model",        "/m",          "--weights",        "f32",      "--kv",        "bf16",
       "--pool-bytes",   "512MiB",      "--policy",         "elastic",  "--budget",    "256t",
       "--max-sessions", "9",           "--max-tokens",     "77",       "--threads",   "3",
       "--grace-period", "1.5",         "--log-format",     "json",     "--log-level", "error",
       "--listen",       "127.0.0.1:0", "--metrics-listen", "none",     "--port-file", "p",
       "--model-name",   "n",           "--chat-family",    "llava-1.5"});
  ASSERT_FALSE(parsed.exit_code.has_value()) << parsed.message;
  const ServerConfig& config = parsed.config;
  EXPECT_EQ(config.model, "/m");
  EXPECT_EQ(config.vision, "");  // the bundled adapter belongs to the bundled model
  EXPECT_EQ(config.weights, MatrixType::kF32);
  EXPECT_EQ(config.engine.default_entry_type, EntryType::kBf16);
  EXPECT_EQ(config.engine.pool_bytes, int64_t{512} << 20);
  EXPECT_EQ(config.engine.default_policy, "elastic");
  EXPECT_EQ(config.engine.default_budget.tokens, 256);
  EXPECT_EQ(config.engine.max_sessions, 9);
  EXPECT_EQ(config.engine.max_tokens_default, 77);
  EXPECT_EQ(config.engine.threads, 3);
  EXPECT_EQ(config.grace_period.count(), 1500);
  EXPECT_EQ(config.log_format, LogFormat::kJson);
  EXPECT_EQ(config.metrics_listen, "");
  EXPECT_EQ(config.port_file, "p");
  EXPECT_EQ(config.model_name, "n");
  EXPECT_EQ(config.chat_family, "llava-1.5");
}

TEST(ServerConfigTest, EnvironmentCountsUnlessAFlagIsGiven) {
  setenv("CONCERTINA_POOL_BYTES", "64MiB", 1);
  setenv("CONCERTINA_MODEL", "/from/environment", 1);
  EXPECT_EQ(Parse({}).config.engine.pool_bytes, 64 << 20);
  EXPECT_EQ(Parse({}).config.model, "/from/environment");
  EXPECT_EQ(Parse({"--pool-bytes", "1MiB"}).config.engine.pool_bytes, 1 << 20);
  unsetenv("CONCERTINA_POOL_BYTES");
  unsetenv("CONCERTINA_MODEL");
}

TEST(ServerConfigTest, WrongFlagsEndWithOneClearText) {
  for (const std::vector<const char*>& bad :
       std::vector<std::vector<const char*>>{{"--weights", "f64"},
                                             {"--budget", "2"},
                                             {"--pool-bytes", "much"},
                                             {"--policy", "nonsense"},
                                             {"--threads", "-1"},
                                             {"--max-sessions", "0"},
                                             {"--grace-period", "-1"},
                                             {"--frobnicate"},
                                             {"--log-format", "xml"},
                                             {"--max-tokens", "0"}}) {
    const ParsedArguments parsed = Parse(bad);
    EXPECT_EQ(parsed.exit_code, 2) << bad[0];
    EXPECT_NE(parsed.message.find(bad[0]), std::string::npos) << parsed.message;
  }
}

TEST(ServerConfigTest, HelpAndVersionEndWell) {
  EXPECT_EQ(Parse({"--help"}).exit_code, 0);
  EXPECT_NE(Parse({"--help"}).message.find("--pool-bytes"), std::string::npos);
  EXPECT_EQ(Parse({"--version"}).exit_code, 0);
}

}  // namespace
}  // namespace concertina
