#include "server/app/server_config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/app/config_checks.h"
#include "tests/app/environment.h"

namespace concertina {
namespace {

ParsedArguments Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "concertina-server");
  return ParseArguments(static_cast<int>(arguments.size()), arguments.data());
}

std::string WriteFile(const std::string& contents) {
  static int count = 0;
  const std::string path = ::testing::TempDir() + "config-" + std::to_string(getpid()) + "-" +
                           std::to_string(count++) + ".toml";
  std::ofstream(path, std::ios::binary) << contents;
  return path;
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
  EXPECT_EQ(parsed.config.weights.few, std::nullopt) << "measured when the model is loaded";
  EXPECT_EQ(parsed.config.weights.many, std::nullopt);
  EXPECT_EQ(parsed.config.weights.vision, std::nullopt);
  EXPECT_EQ(parsed.config.engine.default_entry_type, EntryType::kBf16);
}

TEST(ServerConfigTest, OneTypeOfWeightsIsForEverything) {
  for (const MatrixType type :
       {MatrixType::kF32, MatrixType::kBf16, MatrixType::kInt8, MatrixType::kStored}) {
    const std::string name(MatrixTypeName(type));
    const WeightSettings weights = Parse({"--weights", name.c_str()}).config.weights;
    EXPECT_EQ(weights.few, type);
    EXPECT_EQ(weights.many, type);
    EXPECT_EQ(weights.vision, type);
  }
  const auto kv = [](const char* type) {
    return Parse({"--weights", type}).config.engine.default_entry_type;
  };
  EXPECT_EQ(kv("f32"), EntryType::kF32);
  EXPECT_EQ(kv("stored"), EntryType::kBf16);
  EXPECT_EQ(Parse({"--kv", "int8"}).config.engine.default_entry_type, EntryType::kInt8);
}

TEST(ServerConfigTest, CopiesOfTheWeightsCanBeAskedFor) {
  const WeightSettings both =
      Parse({"--weights", "stored", "--weights-prefill", "bf16", "--weights-vision", "int8"})
          .config.weights;
  EXPECT_EQ(both.few, MatrixType::kStored);
  EXPECT_EQ(both.many, MatrixType::kBf16);
  EXPECT_EQ(both.vision, MatrixType::kInt8);
  const WeightSettings half = Parse({"--weights-prefill", "bf16"}).config.weights;
  EXPECT_EQ(half.few, std::nullopt);
  EXPECT_EQ(half.many, MatrixType::kBf16);
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
  EXPECT_EQ(config.weights.few, MatrixType::kF32);
  EXPECT_EQ(config.weights.many, MatrixType::kF32);
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

TEST(ServerConfigTest, FlagsCountBeforeTheEnvironmentAndThatBeforeTheFile) {
  const std::string path = WriteFile("pool-bytes = \"1MiB\"\nmax-sessions = 5\nmodel = '/file'\n");
  EXPECT_EQ(Parse({"--config", path.c_str()}).config.engine.pool_bytes, 1 << 20);
  const EnvironmentVariable pool("CONCERTINA_POOL_BYTES", "64MiB");
  const EnvironmentVariable model("CONCERTINA_MODEL", "/environment");
  EXPECT_EQ(Parse({}).config.engine.pool_bytes, 64 << 20);
  const ParsedArguments parsed = Parse({"--config", path.c_str(), "--pool-bytes", "2MiB"});
  EXPECT_EQ(parsed.config.engine.pool_bytes, 2 << 20);
  EXPECT_EQ(parsed.config.model, "/environment");
  EXPECT_EQ(parsed.config.engine.max_sessions, 5);
  const EnvironmentVariable config("CONCERTINA_CONFIG", path);
  EXPECT_EQ(Parse({}).config.engine.max_sessions, 5);
  const EnvironmentVariable empty("CONCERTINA_MODEL", "");
  EXPECT_EQ(Parse({}).config.model, "/file") << "an empty variable counts as none";
}

TEST(ServerConfigTest, AFaultNamesTheSettingAndWhereItIs) {
  struct Case {
    const char* file;
    const char* message;
  };
  for (const Case& wrong :
       std::vector<Case>{{"\npool-bytes = \"much\"", ":2: pool-bytes: \"much\" is not a size"},
                         {"frobnicate = 1", ":1: frobnicate: there is no such setting"},
                         {"config = 'x'", ":1: config: there is no such setting"},
                         {"max-batch = 1\nmax-batch = 2", ":2: "},
                         {"max-batch = 1\npolicy = 'full'\nmax-batch = 1", ":3: "},
                         {"max-batch", ":1: "},
                         {"max-batch = ", ":1: "},
                         {"max-batch = 0", ":1: max-batch: \"0\" is not a whole number from 1 to"},
                         {"max-batch = 1.5", ":1: max-batch: \"1.5\" is not"},
                         {"max-batch = true", ":1: max-batch: not a string or a number"},
                         {"max-batch = [1, 2]", ":1: max-batch: not a string or a number"},
                         {"[cache]\npool-bytes = '1GiB'", ":1: cache: not a string or a number"},
                         {"listen = 127.0.0.1:1", ":1: "},
                         {"idle-timeout = nan", ":1: idle-timeout: \"nan\" is not a time"}}) {
    const std::string path = WriteFile(wrong.file);
    const ParsedArguments parsed = Parse({"--config", path.c_str()});
    EXPECT_EQ(parsed.exit_code, 2) << wrong.file;
    EXPECT_TRUE(parsed.message.starts_with(path + wrong.message)) << parsed.message;
  }
  const EnvironmentVariable batch("CONCERTINA_MAX_BATCH", "x");
  EXPECT_TRUE(Parse({}).message.starts_with("CONCERTINA_MAX_BATCH: \"x\" is not"))
      << Parse({}).message;
  EXPECT_EQ(Parse({"--max-batch", "7"}).exit_code, 2) << "overridden, but wrong all the same";
}

TEST(ServerConfigTest, AFileThatCannotBeReadIsAFault) {
  const std::string missing = ::testing::TempDir() + "no-such-file.toml";
  for (const std::string& path : {missing, ::testing::TempDir()}) {
    const ParsedArguments parsed = Parse({"--config", path.c_str()});
    EXPECT_EQ(parsed.exit_code, 2);
    EXPECT_NE(parsed.message.find(path), std::string::npos) << parsed.message;
  }
  EXPECT_FALSE(Parse({"--config", WriteFile("").c_str()}).exit_code.has_value());
}

TEST(ServerConfigTest, WhatIsPrintedIsTheSameWhenReadAgain) {
  const EnvironmentVariable batch("CONCERTINA_MAX_BATCH", "7");
  const ParsedArguments printed =
      Parse({"--print-config", "--policy", "elastic", "--budget", "256t", "--model-name",
             "a \"quoted\" \\ name", "--grace-period", "1.5", "--metrics-listen", "none",
             "--idle-timeout", "0", "--threads", "3", "--vision", "none"});
  ASSERT_EQ(printed.exit_code, 0) << printed.message;
  for (const char* line : {"max-batch = 7\n", "grace-period = \"1500ms\"\n", "threads = 3\n",
                           "metrics-listen = \"none\"\n", "budget = \"256t\"\n"}) {
    EXPECT_NE(printed.message.find(line), std::string::npos) << line << printed.message;
  }
  const EnvironmentVariable other("CONCERTINA_MAX_BATCH", "");
  const std::string path = WriteFile(printed.message);
  const ParsedArguments again = Parse({"--config", path.c_str(), "--print-config"});
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_EQ(again.message, printed.message);
  EXPECT_EQ(again.config.model_name, "a \"quoted\" \\ name");
  EXPECT_EQ(again.config.engine.default_budget.tokens, 256);
  EXPECT_EQ(again.config.vision, "");
}

TEST(ServerConfigTest, AVariableThatMatchesNothingIsAWarning) {
  const EnvironmentVariable typo("CONCERTINA_POOL_BITES", "1GiB");
  const EnvironmentVariable seed("CONCERTINA_SEED", "1");
  const ParsedArguments parsed = Parse({});
  ASSERT_FALSE(parsed.exit_code.has_value());
  ASSERT_EQ(parsed.warnings.size(), 1u);
  EXPECT_NE(parsed.warnings[0].find("CONCERTINA_POOL_BITES"), std::string::npos);
  EXPECT_EQ(parsed.warnings[0].find("1GiB"), std::string::npos) << "values may be secret";
}

TEST(ServerConfigTest, SettingsThatContradictEachOtherAreNamed) {
  struct Case {
    std::vector<const char*> flags;
    const char* setting;
    const char* other;
  };
  for (const Case& wrong : std::vector<Case>{
           {{"--max-tokens", "100", "--max-tokens-limit", "99"}, "max-tokens:", "max-tokens-limit"},
           {{"--max-session-transcript-bytes", "2GiB"},
            "max-session-transcript-bytes:",
            "max-transcript-bytes"},
           {{"--max-image-bytes", "8MiB", "--image-store-bytes", "4MiB"},
            "max-image-bytes:",
            "image-store-bytes"},
           {{"--budget", "2GiB"}, "budget:", "pool-bytes"},
           {{"--metrics-listen", "127.0.0.1:50051"}, "metrics-listen:", "listen"},
           {{"--admin-listen", "0.0.0.0:50051"}, "admin-listen:", "listen"},
           {{"--admin-listen", "0.0.0.0:1", "--metrics-listen", "[::]:1"},
            "metrics-listen:",
            "admin-listen"}}) {
    const ParsedArguments parsed = Parse(wrong.flags);
    EXPECT_EQ(parsed.exit_code, 2) << wrong.setting;
    EXPECT_TRUE(parsed.message.starts_with(wrong.setting)) << parsed.message;
    EXPECT_NE(parsed.message.find(wrong.other, 5), std::string::npos) << parsed.message;
  }
  EXPECT_FALSE(Parse({"--listen", "h:0", "--admin-listen", "h:0", "--metrics-listen", "h:0"})
                   .exit_code.has_value());
  EXPECT_FALSE(Parse({"--admin-listen", "10.0.0.1:50051"}).exit_code.has_value());
  EXPECT_EQ(Parse({"--admin-listen", "10.0.0.1:50052"}).warnings.size(), 1u);
}

TEST(ServerConfigTest, APoolSmallerThanOneConversationIsNamed) {
  ServerConfig config = Parse({"--pool-bytes", "64KiB"}).config;
  LanguageConfig model;
  model.layers = 32;
  model.kv_heads = 8;
  model.head_dim = 128;
  constexpr int64_t page_bytes = 4096;
  const absl::Status status = CheckAgainstModel(config, model, page_bytes);
  EXPECT_TRUE(std::string(status.message()).starts_with("pool-bytes: 64KiB")) << status;
  config.engine.pool_bytes = int64_t{1} << 30;
  EXPECT_TRUE(CheckAgainstModel(config, model, page_bytes).ok());
}

TEST(ServerConfigTest, ADeviceHoldsOneTypeOfWeightsAndEntries) {
  EXPECT_EQ(Parse({}).config.device, "cpu");
  const ParsedArguments half = Parse({"--device", "cuda:1"});
  ASSERT_FALSE(half.exit_code.has_value()) << half.message;
  EXPECT_EQ(half.config.device, "cuda:1");
  EXPECT_EQ(half.config.weights.few, MatrixType::kBf16) << "nothing is measured";
  EXPECT_EQ(half.config.engine.default_entry_type, EntryType::kBf16);
  const ParsedArguments exact = Parse({"--device", "torch:cpu", "--weights", "f32"});
  ASSERT_FALSE(exact.exit_code.has_value()) << exact.message;
  EXPECT_EQ(exact.config.engine.default_entry_type, EntryType::kF32);
  for (const auto& [setting, value] :
       std::vector<std::pair<const char*, const char*>>{{"--weights", "int8"},
                                                        {"--weights", "stored"},
                                                        {"--weights-prefill", "f32"},
                                                        {"--kv", "int8"},
                                                        {"--kv", "f32"},
                                                        {"--image-budget", "0.5"},
                                                        {"--budget", "1MiB"}}) {
    const ParsedArguments parsed = Parse({"--device", "cuda", setting, value});
    EXPECT_EQ(parsed.exit_code, 2) << setting << " " << value;
    EXPECT_TRUE(parsed.message.starts_with(std::string(setting).substr(2) + ": "))
        << parsed.message;
    EXPECT_NE(parsed.message.find("device cuda"), std::string::npos) << parsed.message;
  }
  const ParsedArguments printed = Parse({"--device", "cuda", "--print-config"});
  EXPECT_NE(printed.message.find("device = \"cuda\""), std::string::npos) << printed.message;
  EXPECT_NE(printed.message.find("weights = \"bf16\""), std::string::npos) << printed.message;
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
