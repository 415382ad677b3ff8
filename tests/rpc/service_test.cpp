// What surrounds the service: health, reflection, /metrics.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <thread>

#include "tests/rpc/raw_call.h"
#include "tests/rpc/server_fixture.h"

namespace concertina::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

std::string HttpGet(int port, const std::string& path) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";
    if (write(fd, request.data(), request.size()) == static_cast<ssize_t>(request.size())) {
      char buffer[4096];
      ssize_t count = 0;
      while ((count = read(fd, buffer, sizeof(buffer))) > 0)
        answer.append(buffer, static_cast<size_t>(count));
    }
  }
  close(fd);
  return answer;
}

class ServiceTest : public ServerTest {};

TEST_F(ServiceTest, HealthFollowsTheServersLife) {
  StartServer();
  for (const char* service : {"", "concertina.v1.InferenceService", "liveness", "readiness"}) {
    EXPECT_EQ(HealthOf(server().channel(), service), 1) << service;
  }
  EXPECT_EQ(HealthOf(server().channel(), "unheard.of"), 0);
  const std::string id = OpenOrDie(stub());
  grpc::ClientContext context;
  const auto reader = stub().Generate(&context, LongTurn(id));
  v1::GenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  std::thread stopping([this] { server().runtime().Stop(milliseconds(60'000)); });
  EXPECT_TRUE(Eventually([&] { return HealthOf(server().channel(), "") == 2; }));
  EXPECT_EQ(HealthOf(server().channel(), "readiness"), 2);
  EXPECT_EQ(HealthOf(server().channel(), "liveness"), 1);
  context.TryCancel();
  stopping.join();
  while (reader->Read(&event)) {
  }
  reader->Finish();
}

TEST_F(ServiceTest, ReflectionNamesTheServices) {
  StartServer();
  const std::string services = ReflectedServices(server().channel());
  EXPECT_THAT(services, HasSubstr("concertina.v1.InferenceService"));
  EXPECT_THAT(services, HasSubstr("grpc.health.v1.Health"));
}

TEST_F(ServiceTest, ScrapedNumbersMoveAndPassPromtool) {
  StartServer({}, /*with_metrics=*/true);
  const std::string id = OpenOrDie(stub());
  ASSERT_TRUE(RunTurn(stub(), TextTurn(id, "A question of several words.", 8)).status.ok());
  RunTurn(stub(), TextTurn("", "bad", 1));
  EXPECT_TRUE(Eventually([&] {
    return Metric("kv_pool_used_bytes") > 0 && Metric("sessions_active") == 1 &&
           Metric("requests_total", R"(code="INVALID_ARGUMENT")") == 1;
  }));
  const std::string answer = HttpGet(server().runtime().metrics_port(), "/metrics");
  ASSERT_THAT(answer, HasSubstr("200 OK"));
  EXPECT_GT(Metric("kv_pool_used_bytes"), 0);
  EXPECT_GT(Metric("kv_pool_capacity_bytes"), Metric("kv_pool_used_bytes"));
  EXPECT_EQ(Metric("sessions_active"), 1);
  EXPECT_EQ(Metric("generated_tokens_total"), 8);
  EXPECT_GT(Metric("prompt_tokens_total", R"(modality="text")"), 5);
  EXPECT_GT(Metric("kv_folded_entries_total", R"(phase="prefill")"), 0);
  EXPECT_EQ(Metric("time_to_first_token_seconds_count"), 1);
  EXPECT_EQ(Metric("inter_token_latency_seconds_count"), 7);
  EXPECT_EQ(Metric("requests_total", R"(code="INVALID_ARGUMENT")"), 1);
  EXPECT_GT(Metric("weights_bytes"), 0);
  EXPECT_GT(Metric("process_resident_memory_bytes"), 1 << 20);
  const std::string file = ::testing::TempDir() + "concertina-scrape-" + std::to_string(getpid());
  std::ofstream(file) << answer.substr(answer.find("\r\n\r\n") + 4);
  FILE* promtool = popen(("promtool check metrics < " + file + " 2>&1").c_str(), "r");
  ASSERT_NE(promtool, nullptr);
  char complaint[4096];
  const size_t length = fread(complaint, 1, sizeof(complaint), promtool);
  EXPECT_EQ(WEXITSTATUS(pclose(promtool)), 0);
  EXPECT_EQ(std::string(complaint, length), "");
  unlink(file.c_str());
}

TEST_F(ServiceTest, ABusyPortIsAnError) {
  StartServer();
  ServerConfig config = TinyLlavaConfig();
  config.listen = server().runtime().address();
  config.metrics_listen = "";
  Log log(LogFormat::kText, "error");
  const auto second = Runtime::Start(config, log);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("cannot listen"));
}

}  // namespace
}  // namespace concertina::testing
