#include <gtest/gtest.h>

#include <utility>

#include "tests/campaigns/long_llava.h"
#include "tests/campaigns/status_rows.h"

namespace concertina::testing {
namespace {

v1::OpenSessionRequest OpenWith(const std::string& policy) {
  v1::OpenSessionRequest open;
  open.mutable_policy()->set_name(policy);
  return open;
}

v1::GenerateRequest PictureTurn(const std::string& id) {
  v1::GenerateRequest turn;
  turn.set_session_id(id);
  turn.add_parts();
  return turn;
}

Outcome Open(const Wire& wire, const v1::OpenSessionRequest& request) {
  grpc::ClientContext context;
  v1::OpenSessionResponse response;
  return OutcomeOf(wire.stub().OpenSession(&context, request, &response), context);
}

std::vector<Outcome> BadRequests() {
  Stage stage(TinyLlava());
  if (!stage.ready()) return {};
  v1::OpenSessionRequest open;
  open.mutable_budget()->set_ratio(1.5);
  auto turn = PictureTurn(OpenSession(stage.wire()));
  turn.mutable_parts(0)->mutable_image()->set_data("GIF89a");
  grpc::ClientContext context;
  v1::TokenizeRequest tokenize;
  tokenize.set_text(std::string((64 << 10) + 100, 'a'));
  v1::TokenizeResponse tokens;
  const auto too_large = stage.wire().stub().Tokenize(&context, tokenize, &tokens);
  return {Open(stage.wire(), open), stage.Refuse(turn, "INVALID_ARGUMENT"),
          OutcomeOf(too_large, context)};
}

std::vector<Outcome> LongPrompt() {
  Stage stage(TinyLlava());
  if (!stage.ready()) return {};
  const auto turn = TurnOf(OpenSession(stage.wire()), std::string(4000, 'x'), 4);
  return {stage.Refuse(turn, "INVALID_ARGUMENT")};
}

std::vector<std::string> OnDevice() {
  std::vector<std::string> flags = TinyLlava();
  flags.insert(flags.end(), {"--device", "torch:cpu", "--max-batch", "2"});
  return flags;
}

std::vector<Outcome> NotOnDevice() {
  Stage stage(OnDevice());
  if (!stage.ready()) return {};
  v1::OpenSessionRequest bytes, type, rebase, probe;
  bytes.mutable_budget()->set_bytes(1 << 20);
  type.mutable_policy()->set_entry_type(v1::ENTRY_TYPE_INT8);
  rebase.mutable_policy()->set_on_context_end(v1::ON_CONTEXT_END_REBASE);
  v1::OpenSessionRequest pictures;
  pictures.mutable_policy()->set_image_budget(0.5);
  v1::OpenSessionRequest fair;
  fair.mutable_policy()->set_turn_fold(v1::TURN_FOLD_FAIR);
  auto pinned = TurnOf(OpenSession(stage.wire()), "hi", 4);
  pinned.mutable_parts(0)->set_pin(true);
  probe.mutable_policy()->set_probe_tokens(8);
  return {Open(stage.wire(), bytes),
          Open(stage.wire(), type),
          Open(stage.wire(), rebase),
          Open(stage.wire(), fair),
          Open(stage.wire(), probe),
          Open(stage.wire(), pictures),
          stage.Refuse(pinned, "INVALID_ARGUMENT")};
}

std::vector<Outcome> ForkOnDevice() {
  Stage stage(OnDevice());
  if (!stage.ready()) return {};
  grpc::ClientContext context;
  v1::ForkSessionRequest fork;
  fork.set_session_id(OpenSession(stage.wire()));
  v1::ForkSessionResponse response;
  return {OutcomeOf(stage.wire().stub().ForkSession(&context, fork, &response), context)};
}

std::vector<Outcome> UnknownSession() {
  Stage stage(TinyLlava());
  if (!stage.ready()) return {};
  grpc::ClientContext context;
  v1::GetSessionRequest get;
  get.set_session_id(kNobody);
  v1::GetSessionResponse got;
  const auto unknown = stage.wire().stub().GetSession(&context, get, &got);
  const std::string closed = OpenSession(stage.wire());
  CloseSession(stage.wire(), closed);
  return {OutcomeOf(unknown, context), stage.Refuse(TurnOf(kNobody, "hi", 1), "NOT_FOUND"),
          stage.Refuse(TurnOf(closed, "hi", 1), "NOT_FOUND")};
}

std::vector<Outcome> UnknownPicture() {
  Stage stage(TinyLlava());
  if (!stage.ready()) return {};
  auto turn = PictureTurn(OpenSession(stage.wire()));
  turn.mutable_parts(0)->mutable_image()->set_sha256(std::string(64, 'a'));
  return {stage.Refuse(turn, "NOT_FOUND")};
}

std::vector<Outcome> SameId() {
  Stage stage(TinyLlava());
  if (!stage.ready()) return {};
  v1::OpenSessionRequest open;
  open.set_session_id(kNobody);
  OpenSession(stage.wire(), open);
  return {Open(stage.wire(), open)};
}

std::vector<Outcome> TwoTurns() {
  Stage stage(LongLlava());
  if (!stage.ready()) return {};
  const LongTurn first(stage.wire());
  return {stage.Refuse(TurnOf(first.session_id(), "me too", 1), "ABORTED")};
}

std::vector<Outcome> WrongTurn() {
  Stage stage(TinyLlava());
  if (!stage.ready()) return {};
  auto turn = TurnOf(OpenSession(stage.wire()), "hi", 1);
  turn.set_expected_turn(3);
  return {stage.Refuse(turn, "ABORTED")};
}

std::vector<Outcome> MoreThanThePool() {
  Stage stage(TinyLlava("256KiB"));
  if (!stage.ready()) return {};
  const std::string id = OpenSession(stage.wire(), OpenWith("full"));
  return {stage.Refuse(TurnOf(id, "hi", 400), "FAILED_PRECONDITION")};
}

std::vector<Outcome> MoreThanTheBudget() {
  Stage stage(TinyLlava());
  if (!stage.ready()) return {};
  auto open = OpenWith("full");
  open.mutable_budget()->set_bytes(40'000);
  const auto request = TurnOf(OpenSession(stage.wire(), open), "Tell me the price in 2024.", 200);
  grpc::ClientContext context;
  const WireTurn turn = Generate(stage.wire().stub(), request, context);
  return {OutcomeOf(turn.status, context)};
}

std::vector<Outcome> PinsBeyondTheBudget() {
  Stage stage(TinyLlava());
  if (!stage.ready()) return {};
  auto open = OpenWith("concertina");
  open.mutable_budget()->set_tokens(30);
  const std::string id = OpenSession(stage.wire(), open);
  auto turn = TurnOf(id, "hi", 4);
  turn.mutable_parts(0)->set_pin(true);
  grpc::ClientContext first;
  EXPECT_TRUE(Generate(stage.wire().stub(), turn, first).status.ok());
  auto more = TurnOf(id, std::string(100, 'x'), 4);
  more.mutable_parts(0)->set_pin(true);
  grpc::ClientContext context;
  v1::UpdateSessionRequest smaller;
  smaller.set_session_id(id);
  smaller.mutable_budget()->set_tokens(2);
  smaller.mutable_update_mask()->add_paths("budget");
  v1::UpdateSessionResponse response;
  const auto lowered = stage.wire().stub().UpdateSession(&context, smaller, &response);
  return {stage.Refuse(more, "FAILED_PRECONDITION"), OutcomeOf(lowered, context)};
}

std::vector<Outcome> MoreThanTheContext() {
  Stage stage(TinyLlava());
  if (!stage.ready()) return {};
  const std::string id = OpenSession(stage.wire(), OpenWith("full"));
  return {stage.Refuse(TurnOf(id, "hi", 600), "FAILED_PRECONDITION")};
}

std::vector<Outcome> NoEyes() {
  Stage stage({"--vision", "none", "--pool-bytes", "64MiB"});
  if (!stage.ready()) return {};
  auto turn = PictureTurn(OpenSession(stage.wire()));
  turn.mutable_parts(0)->mutable_image()->set_data(ReadWholeFile(SceneImage(0)));
  grpc::ClientContext context;
  v1::UploadImageResponse response;
  const auto writer = stage.wire().stub().UploadImage(&context, &response);
  writer->WritesDone();
  const auto upload = writer->Finish();
  return {stage.Refuse(turn, "FAILED_PRECONDITION"), OutcomeOf(upload, context)};
}

// Refused for what is asked alone.
std::vector<StatusRow> FieldRows() {
  return {
      {"a field out of range, a bad picture, a message over its limit",
       "INVALID_ARGUMENT",
       "",
       BadRequests,
       {"budget.ratio", "parts[0].image.data", "request"}},
      {"the prompt alone has as many tokens as the trained context",
       "INVALID_ARGUMENT",
       "PROMPT_TOO_LONG",
       LongPrompt,
       {"parts"}},
      {"a budget in bytes, a policy, a type of entries, a rebase, a turn fold, a pin, a picture's "
       "budget or a probe that the server's device does not have",
       "INVALID_ARGUMENT",
       "NOT_ON_DEVICE",
       NotOnDevice,
       {"budget.bytes", "policy.entry_type", "policy.on_context_end", "policy.turn_fold",
        "policy.probe_tokens", "policy.image_budget", "parts[0].pin"}},
  };
}

std::vector<StatusRow> SessionRows() {
  return {
      {"a fork where the server's device has none",
       "UNIMPLEMENTED",
       "NOT_ON_DEVICE",
       ForkOnDevice,
       {}},
      {"unknown or closed session", "NOT_FOUND", "SESSION_NOT_FOUND", UnknownSession, {}},
      {"a picture's SHA-256 is not stored (any more)",
       "NOT_FOUND",
       "IMAGE_NOT_FOUND",
       UnknownPicture,
       {}},
      {"the session id is in use", "ALREADY_EXISTS", "SESSION_EXISTS", SameId, {}},
      {"a turn of this session is in flight", "ABORTED", "TURN_IN_FLIGHT", TwoTurns, {}},
      {"`expected_turn` differs from the finished turns",
       "ABORTED",
       "TURN_MISMATCH",
       WrongTurn,
       {}},
      {"the turn may need more cache than the pool has in all",
       "FAILED_PRECONDITION",
       "BUDGET_TOO_SMALL",
       MoreThanThePool,
       {}},
      {"policy `full` would pass its byte budget",
       "FAILED_PRECONDITION",
       "BUDGET_TOO_SMALL",
       MoreThanTheBudget,
       {}},
      {"what is pinned does not fit the budget",
       "FAILED_PRECONDITION",
       "PINS_EXCEED_BUDGET",
       PinsBeyondTheBudget,
       {}},
      {"the turn does not fit the trained context",
       "FAILED_PRECONDITION",
       "CONTEXT_EXHAUSTED",
       MoreThanTheContext,
       {}},
      {"a picture for a model without eyes", "FAILED_PRECONDITION", "NO_VISION", NoEyes, {}},
  };
}

}  // namespace

std::vector<StatusRow> RequestRows() {
  std::vector<StatusRow> rows = FieldRows();
  for (StatusRow& row : SessionRows()) rows.push_back(std::move(row));
  return rows;
}

}  // namespace concertina::testing
