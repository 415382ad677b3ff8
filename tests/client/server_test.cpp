// The load generator and the newer calls against a server process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>

#include "client/admin.h"
#include "client/client.h"
#include "client/errors.h"
#include "nlohmann/json.hpp"
#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class ClientOnAServer : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto server = ServerProcess::Start(TinyLlava());
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  static void TearDownTestSuite() { server_.reset(); }
  void SetUp() override { ASSERT_NE(server_, nullptr); }

  static ServerProcess& server() { return *server_; }

  // Six tokens of an answer, enough to tell conversations apart.
  static client::Answer Say(client::Conversation& conversation, const std::string& text,
                            std::optional<int32_t> expected_turn = std::nullopt) {
    client::AskOptions options;
    options.max_tokens = 6;
    options.ignore_eos = true;
    options.expected_turn = expected_turn;
    auto answer = conversation.Ask({client::Text(text)}, options);
    EXPECT_TRUE(answer.ok()) << answer.status();
    return answer.ok() ? *std::move(answer) : client::Answer();
  }

 private:
  static std::unique_ptr<ServerProcess> server_;
};

std::unique_ptr<ServerProcess> ClientOnAServer::server_;

TEST_F(ClientOnAServer, BenchMeasuresConversationsAboutPictures) {
  const CommandResult run =
      RunCli(server(),
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
    EXPECT_LE(out[name]["median"], out[name]["p95"]) << name;
    EXPECT_LE(out[name]["p95"], out[name]["p99"]) << name;
    EXPECT_LE(out[name]["p99"], out[name]["max"]) << name;
  }
  // Not so TPOT and ITL: tokens this fast may arrive together.
  EXPECT_GT(out["ttft_ms"]["mean"], 0);
  EXPECT_LT(out["ttft_ms"]["max"], out["e2e_ms"]["max"]);
  EXPECT_GT(out["cache_used_bytes"]["mean"], 0);
  EXPECT_LT(out["cache_used_bytes"]["mean"], out["cache_full_bytes"]["mean"]);
  EXPECT_EQ(server().Gauge("sessions_active", 0), 0);
}

TEST_F(ClientOnAServer, BenchNamesTheReasonOfEveryRefusal) {
  std::vector<std::string> arguments = TinyLlava();
  arguments.insert(arguments.end(), {"--max-sessions", "2"});
  auto small = ServerProcess::Start(arguments);
  ASSERT_TRUE(small.ok()) << small.status();
  const CommandResult run =
      RunCli(**small, {"bench", "--sessions", "6", "--turns", "4", "--requests", "24",
                       "--prompt-tokens", "8", "--max-tokens", "4", "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  const json out = json::parse(run.output, nullptr, false);
  EXPECT_EQ(out["done"].get<int>() + out["failed"].get<int>(), 24);
  EXPECT_GT(out["done"], 0);
  EXPECT_GT(out["failed"], 0);
  EXPECT_EQ(out["failures"], (json{{"SESSION_LIMIT", out["failed"]}}));
  EXPECT_EQ(out["refusals"], out["failures"]);
}

TEST_F(ClientOnAServer, ForksAndTruncatedConversationsGoOnAsTheOriginal) {
  const auto client = server().Connect();
  auto original = client->Open();
  ASSERT_TRUE(original.ok()) << original.status();
  Say(*original, "one", 0);
  auto copy = original->Fork();
  ASSERT_TRUE(copy.ok()) << copy.status();
  EXPECT_GT(original->Info()->cache().shared_bytes(), 0);
  const auto first = Say(*original, "two", 1);
  EXPECT_EQ(Say(*copy, "two", 1).token_ids, first.token_ids);
  const auto truncated = original->Truncate(1);
  ASSERT_TRUE(truncated.ok()) << truncated.status();
  EXPECT_EQ(truncated->turns(), 1);
  EXPECT_GT(truncated->transcript_bytes(), 0);
  EXPECT_EQ(Say(*original, "two", 1).token_ids, first.token_ids);
  client::AskOptions stale;
  stale.expected_turn = 1;
  EXPECT_EQ(client::DetailsOf(original->Ask({client::Text("no")}, stale).status()).reason,
            "TURN_MISMATCH");
}

TEST_F(ClientOnAServer, OperatorsEvictAndSeeIt) {
  const auto client = server().Connect();
  const auto admin = server().ConnectAdmin();
  auto solo = client->Open();
  auto evicted = client->Open();
  ASSERT_TRUE(solo.ok() && evicted.ok());
  Say(*solo, "one");
  Say(*evicted, "one");
  const auto freed = admin->EvictSession(evicted->id());
  ASSERT_TRUE(freed.ok()) << freed.status();
  EXPECT_GT(*freed, 0);
  EXPECT_THAT(RunCli(server(), {"session", evicted->id()}).output,
              HasSubstr("(evicted, turns: 1)"));
  const auto load = admin->GetLoad();
  ASSERT_TRUE(load.ok()) << load.status();
  EXPECT_EQ(load->sessions_active(), 2);
  EXPECT_EQ(load->sessions_evicted(), 1);
  EXPECT_EQ(Say(*evicted, "two").token_ids, Say(*solo, "two").token_ids);
}

TEST_F(ClientOnAServer, TheCommandLineForksAsksAndUndoes) {
  const auto client = server().Connect();
  const CommandResult begun =
      RunCli(server(), {"ask", "--keep", "--max-tokens", "4", "--json", "a"});
  ASSERT_EQ(begun.exit_code, 0) << begun.errors;
  const std::string id = json::parse(begun.output)["session_id"];
  const CommandResult forked = RunCli(server(), {"fork", id});
  ASSERT_EQ(forked.exit_code, 0) << forked.errors;
  const std::string copy = forked.output.substr(0, forked.output.find('\n'));
  EXPECT_EQ(
      RunCli(server(), {"ask", "--session", copy, "--expected-turn", "1", "--max-tokens", "4", "b"})
          .exit_code,
      0);
  EXPECT_EQ(client->GetSession(copy)->turns(), 2);
  EXPECT_EQ(RunCli(server(), {"chat", "--session", copy}, "/undo\n").exit_code, 0);
  EXPECT_EQ(client->GetSession(copy)->turns(), 1);
  EXPECT_EQ(client->GetSession(id)->turns(), 1);
  EXPECT_EQ(RunCli(server(), {"close", id, copy}).exit_code, 0);
}

TEST_F(ClientOnAServer, DrainingIsARefusalWithItsReason) {
  auto draining = ServerProcess::Start(TinyLlava());
  ASSERT_TRUE(draining.ok()) << draining.status();
  const auto client = (*draining)->Connect();
  auto conversation = client->Open();
  ASSERT_TRUE(conversation.ok());
  const auto running = (*draining)->ConnectAdmin()->Drain(std::chrono::seconds(5));
  ASSERT_TRUE(running.ok()) << running.status();
  EXPECT_EQ(*running, 0);
  EXPECT_EQ(client::DetailsOf(conversation->Ask({client::Text("a")}).status()).reason, "DRAINING");
  const CommandResult run = RunCli(**draining, {"bench", "--requests", "2", "--json"});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_EQ(json::parse(run.output)["failures"], (json{{"DRAINING", 2}})) << run.errors;
}

}  // namespace
}  // namespace concertina::testing
