// A real Prometheus scrapes the real server.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <regex>
#include <string>
#include <thread>

#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

constexpr std::chrono::seconds kLimit{60};
constexpr std::chrono::milliseconds kPause{200};

// Where Prometheus says in its log that it listens; empty if it does not say.
std::string ListeningAt(const std::string& log) {
  const auto end = std::chrono::steady_clock::now() + kLimit;
  std::smatch match;
  while (std::chrono::steady_clock::now() < end) {
    const std::string text = ReadWholeFile(log);
    const std::regex line("msg=\"Listening on\" address=(\\S+)\n");
    if (std::regex_search(text, match, line)) return match[1];
    std::this_thread::sleep_for(kPause);
  }
  return "";
}

// Value of an expression that gives one series; -1 while it gives none.
double Query(const std::string& url, const std::string& expression) {
  const CommandResult result =
      RunCommand({"/usr/bin/promtool", "query", "instant", url, expression});
  std::smatch match;
  if (!std::regex_search(result.output, match, std::regex("=> ([^ ]+) @"))) return -1;
  return std::stod(match[1]);
}

bool Reaches(const std::string& url, const std::string& expression, double expected) {
  const auto end = std::chrono::steady_clock::now() + kLimit;
  double value = Query(url, expression);
  while (value != expected && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(kPause);
    value = Query(url, expression);
  }
  EXPECT_EQ(value, expected) << expression;
  return value == expected;
}

TEST(PrometheusTest, ScrapesTheServerAndSeesACounterMove) {
  auto server = ServerProcess::Start(TinyLlava());
  ASSERT_TRUE(server.ok()) << server.status();
  std::smatch port;
  const std::string server_log = (*server)->Log();
  ASSERT_TRUE(std::regex_search(server_log, port, std::regex("metrics on port (\\d+)")));

  const std::string folder = TemporaryPath("prometheus");
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/prometheus.yml")
      << "scrape_configs:\n  - job_name: concertina\n    scrape_interval: 1s\n"
      << "    static_configs:\n      - targets: ['127.0.0.1:" << port[1] << "']\n";
  {
    ChildProcess prometheus({"/usr/bin/prometheus", "--config.file=" + folder + "/prometheus.yml",
                             "--storage.tsdb.path=" + folder, "--web.listen-address=127.0.0.1:0"},
                            "/dev/null", folder + "/log", folder + "/log");
    const std::string listening = ListeningAt(folder + "/log");
    ASSERT_FALSE(listening.empty()) << ReadWholeFile(folder + "/log");
    const std::string url = "http://" + listening;
    EXPECT_TRUE(Reaches(url, "up", 1)) << ReadWholeFile(folder + "/log");
    EXPECT_TRUE(Reaches(url, "concertina_generated_tokens_total", 0));
    const auto client = (*server)->Connect();
    auto conversation = client->Open();
    ASSERT_TRUE(conversation.ok()) << conversation.status();
    client::AskOptions options;
    options.max_tokens = 12;
    options.ignore_eos = true;
    ASSERT_TRUE(conversation->Ask({client::Text("Go.")}, options).ok());
    EXPECT_TRUE(Reaches(url, "concertina_generated_tokens_total", 12));
    EXPECT_TRUE(Reaches(url, "concertina_sessions_active", 1));
    EXPECT_TRUE(Reaches(url, R"(concertina_requests_total{method="Generate",code="OK"})", 1));
    EXPECT_TRUE(Reaches(url, R"(concertina_session_evictions_total{reason="pool"})", 0));
    prometheus.Signal(SIGTERM);
    prometheus.WaitForExit(std::chrono::seconds(10));
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace concertina::testing
