#include <gtest/gtest.h>
#include <signal.h>

#include <stdexcept>

#include "grpcpp/create_channel.h"
#include "tests/campaigns/campaign.h"
#include "tests/campaigns/long_llava.h"
#include "tests/campaigns/status_rows.h"
#include "tests/support/server/in_process_server.h"

namespace concertina::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::vector<Outcome> ClosedSession() {
  Stage stage(LongLlava());
  if (!stage.ready()) return {};
  LongTurn turn(stage.wire());
  CloseSession(stage.wire(), turn.session_id());
  return {turn.Wait()};
}

std::vector<Outcome> Stopping() {
  Stage stage(LongLlava());
  if (!stage.ready()) return {};
  const std::string id = OpenSession(stage.wire());
  const LongTurn running(stage.wire());
  stage.server().process().Signal(SIGTERM);
  EXPECT_EQ(stage.server().Gauge("draining", 1), 1);
  grpc::ClientContext context;
  v1::OpenSessionResponse response;
  const auto open = stage.wire().stub().OpenSession(&context, {}, &response);
  return {OutcomeOf(open, context), stage.Refuse(TurnOf(id, "hi", 1), "UNAVAILABLE")};
}

// Expects the server to count what the client saw, and the session to keep what was said.
void ExpectCounted(Stage& stage, const std::string& code, const std::string& session) {
  EXPECT_TRUE(Eventually(seconds(2), [&] { return stage.Calls("Generate", code) == 1; }));
  const v1::Session after = IdleSession(stage.wire(), session);
  EXPECT_EQ(after.turns(), 1);
  EXPECT_GT(after.cache().tokens_seen(), 0);
}

std::vector<Outcome> Deadline() {
  Stage stage(LongLlava());
  if (!stage.ready()) return {};
  const std::string id = OpenSession(stage.wire());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + milliseconds(1000));
  const auto request = TurnOf(id, "Tell me everything.", kLongTurnTokens);
  const WireTurn turn = Generate(stage.wire().stub(), request, context);
  EXPECT_FALSE(turn.tokens.empty());
  ExpectCounted(stage, "DEADLINE_EXCEEDED", id);
  return {OutcomeOf(turn.status, context)};
}

Outcome CancelledTurn() {
  Stage stage(LongLlava());
  if (!stage.ready()) return {};
  LongTurn turn(stage.wire());
  turn.Cancel();
  const Outcome outcome = turn.Wait();
  ExpectCounted(stage, "CANCELLED", turn.session_id());
  return outcome;
}

// Nothing is read: once the transport's window is full, the server's write does not end.
Outcome StalledTurn() {
  Stage stage(LongLlava(), {"--stall-timeout", "500ms"});
  if (!stage.ready()) return {};
  grpc::ChannelArguments narrow;
  narrow.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1024);
  narrow.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  narrow.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  const auto stub = v1::InferenceService::NewStub(grpc::CreateCustomChannel(
      stage.server().target(), grpc::InsecureChannelCredentials(), narrow));
  auto request = TurnOf(OpenSession(stage.wire()), "Tell me everything.", kLongTurnTokens);
  request.set_logprobs(true);
  grpc::ClientContext context;
  const auto reader = stub->Generate(&context, request);
  EXPECT_TRUE(Eventually(seconds(20), [&] {
    return stage.server().Metric("requests_rejected_total", "CLIENT_STALLED") == 1;
  }));
  v1::GenerateResponse event;
  while (reader->Read(&event)) EXPECT_FALSE(event.has_completed());
  const auto status = reader->Finish();
  ExpectCounted(stage, "CANCELLED", request.session_id());
  return OutcomeOf(status, context);
}

// A tokenizer that breaks on every text, as a bug of ours would.
class BrokenTokenizer final : public Tokenizer {
 public:
  BrokenTokenizer() : Tokenizer(TokenizerFacts{}) {}
  std::vector<TokenId> EncodeSpans(std::span<const Span>, Context) const override {
    throw std::runtime_error("secret.cpp:42: vocabulary at 0x7f0000001000");
  }
  void DecodeStep(TokenId, bool, DecodeState*, std::string*) const override {}
  void DecodeEnd(DecodeState*, std::string*) const override {}
  void AppendBytes(TokenId, bool, std::string*) const override {}
  std::optional<TokenId> Find(std::string_view) const override { return std::nullopt; }
  bool IsSpecial(TokenId) const override { return false; }
};

// No request brings the real process to this, or it would be a bug: here the model has one.
std::vector<Outcome> Fault() {
  const ServerConfig config = TinyLlavaConfig();
  auto model = LoadModel({.path = config.model, .vision_path = {}, .chat_family = {}});
  EXPECT_TRUE(model.ok()) << model.status();
  if (!model.ok()) return {};
  const auto broken = std::const_pointer_cast<Model>(*model);
  broken->tokenizer = std::make_unique<BrokenTokenizer>();
  auto server = InProcessServer::Start(config, broken);
  EXPECT_TRUE(server.ok()) << server.status();
  if (!server.ok()) return {};
  grpc::ClientContext context;
  v1::TokenizeRequest request;
  request.set_text("anything");
  v1::TokenizeResponse response;
  const auto status = (*server)->stub().Tokenize(&context, request, &response);
  EXPECT_EQ(status.error_message(), "internal error");
  grpc::ClientContext next;
  v1::GetModelResponse served;
  EXPECT_TRUE((*server)->stub().GetModel(&next, {}, &served).ok()) << "it goes on serving";
  return {OutcomeOf(status, context)};
}

}  // namespace

std::vector<StatusRow> EndRows() {
  return {
      {"the session was closed during the turn", "CANCELLED", "SESSION_CLOSED", ClosedSession, {}},
      {"the server is stopping", "UNAVAILABLE", "DRAINING", Stopping, {}},
      {"the client's deadline", "DEADLINE_EXCEEDED", "", Deadline, {}},
      {"the client cancelled, or took nothing for 30 s",
       "CANCELLED",
       "",
       [] { return std::vector<Outcome>{CancelledTurn(), StalledTurn()}; },
       {}},
      {"a fault of ours", "INTERNAL", "", Fault, {}},
  };
}

}  // namespace concertina::testing
