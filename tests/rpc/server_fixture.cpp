#include "tests/rpc/server_fixture.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

namespace concertina::testing {
namespace {

namespace fs = std::filesystem;

constexpr int kLongTurnTokens = 16'000;

// A copy of the tiny model (links to its files) with another max_position_embeddings.
std::string LongContextFolder() {
  const fs::path source = CONCERTINA_SOURCE_DIR "/tests/goldens/llava15-tiny";
  const fs::path folder =
      fs::path(::testing::TempDir()) / ("long-llava-" + std::to_string(getpid()));
  fs::remove_all(folder);
  fs::create_directories(folder);
  for (const auto& entry : fs::directory_iterator(source)) {
    if (entry.path().filename() != "config.json") {
      fs::create_symlink(entry.path(), folder / entry.path().filename());
    }
  }
  nlohmann::json config = nlohmann::json::parse(ReadFileOrDie(source / "config.json"));
  config["text_config"]["max_position_embeddings"] = 32'768;
  std::ofstream(folder / "config.json") << config;
  return folder;
}

}  // namespace

bool Eventually(const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

std::shared_ptr<const Model> ServerTest::loaded;

void ServerTest::SetUpTestSuite() {
  ModelOptions options;
  options.path = LongContextFolder();
  auto model = LoadModel(options);
  ASSERT_TRUE(model.ok()) << model.status();
  loaded = *std::move(model);
}

void ServerTest::TearDownTestSuite() { loaded.reset(); }

void ServerTest::StartServer(const std::function<void(ServerConfig&)>& change, bool with_metrics) {
  server_.reset();
  ServerConfig config = TinyLlavaConfig();
  if (change) change(config);
  auto server = InProcessServer::Start(config, loaded, with_metrics);
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
}

v1::GenerateRequest ServerTest::LongTurn(const std::string& session_id) {
  v1::GenerateRequest request = TextTurn(session_id, "Tell me everything.", kLongTurnTokens);
  request.set_ignore_eos(true);
  return request;
}

v1::Session ServerTest::SessionOrDie(const std::string& session_id) {
  grpc::ClientContext context;
  v1::GetSessionRequest request;
  request.set_session_id(session_id);
  v1::GetSessionResponse response;
  const grpc::Status status = stub().GetSession(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response.session();
}

bool ServerTest::BecomesIdle(const std::string& session_id) {
  return Eventually([&] { return SessionOrDie(session_id).state() == v1::SESSION_STATE_IDLE; });
}

double ServerTest::Metric(const std::string& name, const std::string& label) {
  std::istringstream lines(server_->runtime().metrics_text());
  std::string line;
  double sum = 0;
  while (std::getline(lines, line)) {
    if (line.starts_with("concertina_" + name + "{") && line.find(label) != std::string::npos) {
      sum += std::stod(line.substr(line.rfind(' ')));
    }
  }
  return sum;
}

}  // namespace concertina::testing
