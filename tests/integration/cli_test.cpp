// The command line against the bundled model.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "nlohmann/json.hpp"
#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

constexpr char kScene[] = CONCERTINA_SOURCE_DIR "/tests/goldens/bundled-model/images/scene0.jpg";

class BundledCli : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto server = ServerProcess::Start({"--pool-bytes", "256MiB"});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  static void TearDownTestSuite() { server_.reset(); }
  void SetUp() override { ASSERT_NE(server_, nullptr); }

  static ServerProcess& server() { return *server_; }

 private:
  static std::unique_ptr<ServerProcess> server_;
};

std::unique_ptr<ServerProcess> BundledCli::server_;

int Count(const std::string& text, const std::string& with) {
  int count = 0;
  for (size_t at = text.find(with); at != std::string::npos; at = text.find(with, at + 1)) ++count;
  return count;
}

TEST_F(BundledCli, DemoTalksAboutThePictureAndFoldsAfterEachTurn) {
  const CommandResult demo = RunCli(server(), {"demo", "--image", kScene});
  EXPECT_EQ(demo.exit_code, 0) << demo.output << demo.errors;
  EXPECT_EQ(Count(demo.output, "mass kept"), 3) << demo.output;
  EXPECT_NE(demo.output.find("carrot"), std::string::npos) << demo.output;
  EXPECT_EQ(server().Gauge("sessions_active", 0), 0);
  EXPECT_EQ(server().Gauge("kv_pool_used_bytes", 0), 0);
}

TEST_F(BundledCli, DemoReportsInJson) {
  const CommandResult demo = RunCli(server(), {"demo", "--image", kScene, "--json"});
  ASSERT_EQ(demo.exit_code, 0) << demo.output << demo.errors;
  const auto report = nlohmann::json::parse(demo.output, nullptr, false);
  ASSERT_TRUE(report.is_object()) << demo.output;
  EXPECT_EQ(report["turns"].size(), 3u);
  EXPECT_EQ(report["closed"], true);
}

TEST_F(BundledCli, AskAnswersOnce) {
  const CommandResult ask =
      RunCli(server(), {"ask", "--image", kScene, "What colour is the background?"});
  EXPECT_EQ(ask.exit_code, 0) << ask.errors;
  EXPECT_FALSE(ask.output.empty());
  EXPECT_EQ(server().Gauge("sessions_active", 0), 0);
}

TEST_F(BundledCli, ChatIsDrivenThroughAPipe) {
  const std::string input = "/image " + std::string(kScene) +
                            "\nDescribe the image in detail.\n/budget 0.5\nWhere is the carrot?\n"
                            "/stats\n/clear\nHello\n/quit\n";
  const CommandResult chat = RunCli(server(), {"chat"}, input);
  EXPECT_EQ(chat.exit_code, 0) << chat.output << chat.errors;
  EXPECT_NE(chat.output.find("carrot"), std::string::npos) << chat.output << chat.errors;
  EXPECT_EQ(server().Gauge("sessions_active", 0), 0);
  EXPECT_EQ(server().Gauge("kv_pool_used_bytes", 0), 0);
}

TEST_F(BundledCli, HealthModelAndSessionsInJson) {
  EXPECT_EQ(RunCli(server(), {"health", "--json"}).exit_code, 0);
  const CommandResult model = RunCli(server(), {"model", "--json"});
  const auto parsed = nlohmann::json::parse(model.output, nullptr, false);
  ASSERT_TRUE(parsed.is_object()) << model.output;
  EXPECT_EQ(parsed["layers"], 30);
  const auto client = server().Connect();
  const auto conversation = client->Open();
  ASSERT_TRUE(conversation.ok());
  const CommandResult sessions = RunCli(server(), {"sessions", "--json"});
  EXPECT_NE(sessions.output.find(conversation->id()), std::string::npos) << sessions.output;
}

TEST_F(BundledCli, TokenizesAndRefusesBadUse) {
  const CommandResult tokens = RunCli(server(), {"tokenize", "--json", "red carrot"});
  const auto parsed = nlohmann::json::parse(tokens.output, nullptr, false);
  ASSERT_TRUE(parsed.is_object()) << tokens.output;
  EXPECT_GE(parsed["ids"].size(), 2u);
  EXPECT_EQ(RunCli(server(), {"demo", "--image", "/nonexistent.png"}).exit_code, 2);
  EXPECT_EQ(RunCli(server(), {"ask", "--budget", "7", "hello"}).exit_code, 2);
}

}  // namespace
}  // namespace concertina::testing
