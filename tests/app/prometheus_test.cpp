// A real Prometheus scrapes the real server.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

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

// A port that was free a moment ago.
int FreePort() {
  const int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  bind(file, reinterpret_cast<const sockaddr*>(&address), size);
  getsockname(file, reinterpret_cast<sockaddr*>(&address), &size);
  close(file);
  return ntohs(address.sin_port);
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
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  double value = Query(url, expression);
  while (value != expected && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
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
  const std::string listen = "127.0.0.1:" + std::to_string(FreePort());
  const std::string url = "http://" + listen;
  {
    ChildProcess prometheus({"/usr/bin/prometheus", "--config.file=" + folder + "/prometheus.yml",
                             "--storage.tsdb.path=" + folder, "--web.listen-address=" + listen},
                            "/dev/null", folder + "/log", folder + "/log");
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
