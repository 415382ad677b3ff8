#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "grpcpp/health_check_service_interface.h"
#include "nlohmann/json.hpp"
#include "tests/client/fake_service.h"
#include "tests/client/process.h"

namespace concertina {
namespace {

using nlohmann::json;
using testing::FakeServer;
using testing::FakeTurn;
using ::testing::HasSubstr;
using testing::MakeError;
using testing::MakeTurn;
using ::testing::Not;
using testing::ProcessResult;
using testing::RunCli;
using ::testing::SizeIs;

constexpr char kImage[] = CONCERTINA_SOURCE_DIR "/docs/demo/scene.png";

class CliTest : public ::testing::Test {
 protected:
  ProcessResult Run(const std::vector<std::string>& arguments, const std::string& input = "") {
    return RunCli(server_.target(), arguments, input);
  }

  FakeServer server_;
  testing::FakeService& service_ = server_.service();
};

bool IsOneLine(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n') == 1 && text.ends_with('\n');
}

TEST_F(CliTest, AskStreamsTheAnswerAndClosesItsSession) {
  service_.AddTurn(MakeTurn({"A ", "red ", "square."}));
  const auto result =
      Run({"ask", "--image", kImage, "--image", kImage, "--budget", "256t", "--policy", "elastic",
           "--max-tokens", "9", "--temperature", "0.5", "What is it?"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "A red square.\n");
  const auto request = service_.asked().at(0);
  ASSERT_EQ(request.parts_size(), 3);
  EXPECT_GT(request.parts(1).image().data().size(), 1000);
  EXPECT_EQ(request.parts(2).text(), "What is it?");
  EXPECT_EQ(request.max_tokens(), 9);
  EXPECT_EQ(request.sampling().temperature(), 0.5F);
  EXPECT_EQ(service_.opened().at(0).budget().tokens(), 256);
  EXPECT_EQ(service_.opened().at(0).policy().name(), "elastic");
  EXPECT_THAT(service_.closed(), SizeIs(1));
  EXPECT_FALSE(request.parts(0).pin() || request.parts(2).pin());
}

TEST_F(CliTest, AskPrintsOneJsonObject) {
  service_.AddTurn(MakeTurn({"A ", "square."}));
  const auto result = Run({"ask", "--json", "What is it?"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  ASSERT_TRUE(IsOneLine(result.out)) << result.out;
  const json out = json::parse(result.out);
  EXPECT_EQ(out["text"], "A square.");
  EXPECT_EQ(out["finish_reason"], "stop");
  EXPECT_EQ(out["folded"]["entries_before"], 2000);
  EXPECT_EQ(out["folded"]["entries_after"], 400);
  EXPECT_EQ(out["folded"]["bytes_after"], 25600);
  EXPECT_EQ(out["usage"]["image_tokens"], 100);
  EXPECT_EQ(out["cache"]["budget"], "0.2");
  EXPECT_DOUBLE_EQ(out["timings"]["time_to_first_token"], 0.25);
  EXPECT_EQ(out["session_id"], service_.opened().at(0).session_id());
}

TEST_F(CliTest, ARefusalIsOneLineWithItsDetails) {
  for (int i = 0; i < 2; ++i) {
    service_.AddTurn({{}, MakeError(grpc::INVALID_ARGUMENT, "bad \x1b[2J", "", "parts[0].text")});
  }
  const auto result = Run({"ask", "hm"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_TRUE(IsOneLine(result.err)) << result.err;
  EXPECT_THAT(result.err, HasSubstr("[field parts[0].text]"));
  EXPECT_THAT(result.err, Not(HasSubstr("\x1b")));
  EXPECT_THAT(service_.closed(), SizeIs(1));
  const json error = json::parse(Run({"--json", "ask", "hm"}).out)["error"];
  EXPECT_EQ(error["code"], "INVALID_ARGUMENT");
  EXPECT_EQ(error["field"], "parts[0].text");
}

TEST_F(CliTest, BadUsageIsOneLineAndExit2) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {},
           {"dance"},
           {"ask"},
           {"ask", "--budget", "20%", "x"},
           {"ask", "--entry-type", "f16", "x"},
           {"ask", "--image", "no/such/file.png", "x"},
           {"demo"},
           {"demo", "--image", "no/such/file.png"},
           {"score", "--prompts", "no/such/file.json", "--policy", "full"},
           {"score", "--prompts", kImage, "--policy", "full"},
           {"score", "--prompts", kImage},
           {"health", "--wait", "-1"}}) {
    const auto result = Run(arguments);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_TRUE(IsOneLine(result.err)) << result.err;
    EXPECT_EQ(result.out, "");
  }
  EXPECT_EQ(service_.opened().size(), 0);
  const auto help = Run({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.out, HasSubstr("Exit codes:"));
}

TEST_F(CliTest, NoServerIsExit3) {
  std::string target;
  { target = FakeServer().target(); }
  const auto result = RunCli(target, {"sessions"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_TRUE(IsOneLine(result.err)) << result.err;
  EXPECT_EQ(RunCli(target, {"health", "--wait", "0.2"}).exit_code, 3);
  // The flag is stronger than the environment.
  EXPECT_EQ(RunCli(target, {"health", "--target", server_.target()}).exit_code, 0);
}

TEST_F(CliTest, HealthFollowsTheServer) {
  EXPECT_EQ(Run({"health"}).out, "SERVING\n");
  EXPECT_EQ(json::parse(Run({"health", "--json"}).out)["status"], "SERVING");
  server_.server().GetHealthCheckService()->SetServingStatus("", false);
  EXPECT_EQ(Run({"health"}).exit_code, 3);
  EXPECT_EQ(Run({"health", "--service", "unknown"}).exit_code, 1);
}

TEST_F(CliTest, TheDemoShowsAndChecksThreeTurns) {
  service_.AddTurn(MakeTurn({"A ", "scene."}));
  const auto result = Run({"demo", "--image", kImage});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out,
              HasSubstr("> Describe the image in detail.\nA scene.\ncache 2,000 → 400"));
  size_t lines = 0;
  for (size_t at = 0; (at = result.out.find("\ncache ", at)) != std::string::npos; ++at) ++lines;
  EXPECT_EQ(lines, 3);
  const auto asked = service_.asked();
  ASSERT_EQ(asked.size(), 3);
  EXPECT_EQ(asked[0].parts(0).image().sha256(), std::string(64, 'a'));
  EXPECT_EQ(asked[1].parts_size(), 1);
  EXPECT_EQ(asked[1].parts(0).text(), "Where is the carrot?");
  EXPECT_EQ(asked[2].session_id(), asked[0].session_id());
  EXPECT_THAT(service_.closed(), SizeIs(1));
  const auto as_json = Run({"demo", "--json", "--image", kImage, "--follow-up", "Why?"});
  EXPECT_EQ(as_json.exit_code, 0);
  const json report = json::parse(as_json.out);
  EXPECT_EQ(report["turns"].size(), 2);
  EXPECT_EQ(report["turns"][1]["question"], "Why?");
}

TEST_F(CliTest, TheDemoFailsIfAFoldIsMissing) {
  FakeTurn unfolded = MakeTurn({"words"});
  unfolded.events.erase(unfolded.events.begin() + 2);
  service_.AddTurn(MakeTurn({"words"}));
  service_.AddTurn(MakeTurn({"words"}));
  service_.AddTurn(unfolded);
  const auto result = Run({"demo", "--image", kImage});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("not folded"));
  EXPECT_THAT(service_.closed(), SizeIs(1));
}

TEST_F(CliTest, TheDemoFailsIfSumsOrAnswersOrTheSessionAreWrong) {
  FakeTurn wrong_sum = MakeTurn({"words"});
  wrong_sum.events[2].mutable_folded()->mutable_layers(1)->set_entries_after(201);
  service_.AddTurn(wrong_sum);
  EXPECT_EQ(Run({"demo", "--image", kImage}).exit_code, 1);
  service_.AddTurn(MakeTurn({}));
  EXPECT_EQ(Run({"demo", "--image", kImage}).exit_code, 1);
  FakeTurn blind = MakeTurn({"words"});
  blind.events.back().mutable_completed()->mutable_usage()->set_image_tokens(0);
  service_.AddTurn(blind);
  EXPECT_EQ(Run({"demo", "--image", kImage}).exit_code, 1);
  service_.AddTurn({{}, MakeError(grpc::INTERNAL, "broken", "")});
  EXPECT_EQ(Run({"demo", "--image", kImage}).exit_code, 1);
  service_.SetCloseIsALie();
  const auto result = Run({"demo", "--image", kImage});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("still there"));
}

TEST_F(CliTest, TurnsAndPinsReachTheServer) {
  service_.AddTurn(MakeTurn({"Red."}));
  const auto asked = Run({"ask", "--image", kImage, "--pin-images", "--turn-fold", "isolate",
                          "--system", "Be brief.", "--pin-system", "What is it?"});
  EXPECT_EQ(asked.exit_code, 0) << asked.err;
  EXPECT_TRUE(service_.asked().at(0).parts(0).pin());
  EXPECT_FALSE(service_.asked().at(0).parts(1).pin());
  EXPECT_EQ(service_.opened().at(0).policy().turn_fold(), v1::TURN_FOLD_ISOLATE);
  EXPECT_TRUE(service_.opened().at(0).policy().pin_system_prompt());
  EXPECT_FALSE(service_.opened().at(0).policy().has_image_budget());
  EXPECT_EQ(Run({"ask", "--pin-system", "What is it?"}).exit_code, 2) << "there is none";
  EXPECT_EQ(Run({"ask", "--turn-fold", "together", "What is it?"}).exit_code, 2);

  service_.AddTurn(MakeTurn({"Red."}));
  service_.AddTurn(MakeTurn({"Blue."}));
  service_.AddTurn(MakeTurn({"Green."}));
  EXPECT_EQ(Run({"ask", "--pin-question", "one"}).exit_code, 0);
  const std::string lines = std::string("/image ") + kImage + "\n/pin\ntwo\nthree\n";
  EXPECT_THAT(Run({"chat", "--turn-fold", "fair"}, lines).out,
              HasSubstr("the next message stays in the cache"));
  EXPECT_TRUE(service_.asked().at(1).parts(0).pin());
  EXPECT_TRUE(service_.asked().at(2).parts(0).pin() && service_.asked().at(2).parts(1).pin());
  EXPECT_FALSE(service_.asked().at(3).parts(0).pin());
  EXPECT_EQ(service_.opened().back().policy().turn_fold(), v1::TURN_FOLD_FAIR);
}

TEST_F(CliTest, PicturesBudgetsReachTheServer) {
  service_.AddTurn(MakeTurn({"Red."}));
  EXPECT_EQ(Run({"ask", "--image-budget", "0.25", "--merge-images", "What is it?"}).exit_code, 0);
  EXPECT_EQ(service_.opened().at(0).policy().image_budget(), 0.25);
  EXPECT_TRUE(service_.opened().at(0).policy().merge_images());
  EXPECT_EQ(Run({"ask", "--image-budget", "1.5", "What is it?"}).exit_code, 2);
}

TEST_F(CliTest, ChatTakesCommandsAndMessagesFromAPipe) {
  service_.AddTurn(MakeTurn({"Caf\xc3\xa9 ", "it is."}));
  const auto result = Run({"chat"}, std::string("/image ") + kImage +
                                        "\nWas ist das f\xc3\xbcr ein Caf\xc3\xa9?\n"
                                        "/budget 64MiB\n/stats\n\n /not a command\n/clear\nagain\n"
                                        "/help\n/quit\nnever said\n");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(result.out, HasSubstr("160 x 120, goes with the next message\n"
                                    "Caf\xc3\xa9 it is.\ncache 2,000 → 400 entries"));
  EXPECT_THAT(result.out, HasSubstr("budget 64MiB"));
  EXPECT_THAT(result.out, HasSubstr("seen      0 tokens"));
  EXPECT_THAT(result.out, HasSubstr("/image PATH"));
  const auto asked = service_.asked();
  ASSERT_EQ(asked.size(), 3);
  EXPECT_EQ(asked[0].parts(0).image().sha256(), std::string(64, 'a'));
  EXPECT_EQ(asked[0].parts(1).text(), "Was ist das f\xc3\xbcr ein Caf\xc3\xa9?");
  EXPECT_EQ(asked[1].parts_size(), 1);
  EXPECT_EQ(asked[1].parts(0).text(), "/not a command");
  EXPECT_EQ(asked[2].parts(0).text(), "again");
  EXPECT_EQ(asked[1].session_id(), asked[0].session_id());
  EXPECT_NE(asked[2].session_id(), asked[0].session_id());
  EXPECT_THAT(service_.closed(),
              ::testing::ElementsAre(asked[0].session_id(), asked[2].session_id()));
}

TEST_F(CliTest, ChatGoesOnAfterErrorsButTellsScripts) {
  service_.AddTurn({{}, MakeError(grpc::FAILED_PRECONDITION, "small", "BUDGET_TOO_SMALL")});
  const auto result =
      Run({"chat"}, "one\n/dance\n/budget 7%\n/image no/such/file.png\n/image\ntwo");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("BUDGET_TOO_SMALL"));
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 5) << result.err;
  EXPECT_THAT(result.out, HasSubstr("ok\n"));
  EXPECT_EQ(service_.asked().at(1).parts(0).text(), "two");
  EXPECT_THAT(service_.closed(), SizeIs(1));
}

TEST_F(CliTest, ChatInJsonIsOneObjectALine) {
  const auto result = Run({"chat", "--json"}, "one\n/stats\n");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  std::istringstream lines(result.out);
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(json::parse(line)["text"], "ok");
  std::getline(lines, line);
  EXPECT_EQ(json::parse(line)["state"], "idle");
  EXPECT_FALSE(std::getline(lines, line));
}

TEST_F(CliTest, ScorePrintsTheReplay) {
  service_.SetScore([](const v1::ScoreRequest& request) {
    v1::ScoreResponse response;
    const bool full = request.policy().name() == "full";
    for (int i = 0; i < request.continuation().ids().ids_size(); ++i) {
      response.add_logprobs(full ? -1.0F : -1.5F);
      response.add_argmax_ids(full || i != 1 ? 1 : 2);
    }
    return response;
  });
  const std::string path =
      ::testing::TempDir() + "concertina_prompts-" + std::to_string(getpid()) + ".json";
  std::ofstream(path) << R"([{"task": "prose", "i": 3, "prompt": [1], "ans": [1, 2, 3],
                             "full_nll": 0.75}])";
  const auto result = Run({"score", "--prompts", path, "--policy", "elastic", "--budget", "0.2",
                           "--pure-sink", "--merge", "mean", "--entry-type", "f32", "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const json out = json::parse(result.out);
  EXPECT_EQ(out["policy"], "elastic");
  EXPECT_EQ(out["budget"], "0.2");
  EXPECT_NEAR(out["all"]["ratio"].get<double>(), std::exp(0.75), 1e-9);
  EXPECT_NEAR(out["tasks"]["prose"]["ppl"].get<double>(), std::exp(1.5), 1e-9);
  EXPECT_EQ(out["all"]["agreement"], 0.5);
  EXPECT_EQ(out["prompts"][0]["i"], 3);
  EXPECT_EQ(out["prompts"][0]["full_nll_measured"], 1.0);
  const auto scored = service_.scored();
  ASSERT_EQ(scored.size(), 2);
  EXPECT_TRUE(scored[1].policy().pure_sink());
  EXPECT_EQ(scored[1].policy().merge(), v1::MERGE_MODE_MEAN);
  EXPECT_EQ(scored[1].fold(), v1::SCORE_FOLD_PREFILL_ONLY);
  const auto table = Run({"score", "--prompts", path, "--policy", "elastic", "--fold", "decode"});
  EXPECT_THAT(table.out, HasSubstr("prose"));
  EXPECT_THAT(table.err, HasSubstr("1/1 prose 3"));
  EXPECT_EQ(service_.scored().back().fold(), v1::SCORE_FOLD_DECODE);
}

TEST_F(CliTest, SessionsAreListedShownAndClosed) {
  EXPECT_EQ(Run({"sessions"}).out, "no open sessions\n");
  for (const char* id : {"a", "b", "c"}) service_.AddSession(id);
  EXPECT_EQ(json::parse(Run({"sessions", "--json"}).out).size(), 3);
  EXPECT_THAT(Run({"sessions"}).out, HasSubstr("concertina"));
  EXPECT_EQ(json::parse(Run({"session", "b", "--json"}).out)["session_id"], "b");
  EXPECT_THAT(Run({"stats", "b"}).out, HasSubstr("session   b (idle"));
  const auto unknown = Run({"session", "x"});
  EXPECT_EQ(unknown.exit_code, 1);
  EXPECT_THAT(unknown.err, HasSubstr("SESSION_NOT_FOUND"));
  EXPECT_EQ(Run({"close", "a", "x"}).out, "a closed\nx was not open\n");
  EXPECT_EQ(json::parse(Run({"sessions", "--json"}).out).size(), 2);
}

TEST_F(CliTest, ModelAndTokens) {
  EXPECT_THAT(Run({"model"}).out, HasSubstr("fake (chatml-smollm)"));
  EXPECT_THAT(Run({"model"}).out,
              HasSubstr("prefill: bf16, 2.0 MiB, 2.00 bytes per parameter, from 32 rows on; "
                        "25.0 GB/s at 1 row, 400 GOP/s at 256\n"));
  EXPECT_EQ(json::parse(Run({"model", "--json"}).out)["layers"], testing::kFakeLayers);
  const json copy = json::parse(Run({"model", "--json"}).out)["weight_copies"][0];
  EXPECT_EQ(copy["role"], "prefill");
  EXPECT_EQ(copy["rows_from"], 32);
  EXPECT_EQ(json::parse(Run({"tokenize", "--json", "\xc3\xa9"}).out)["ids"], json({195, 169}));
  EXPECT_THAT(Run({"tokenize", "a\""}).out, HasSubstr("     97  \"a\"\n     34  \"\\\"\"\n"));
}

}  // namespace
}  // namespace concertina
