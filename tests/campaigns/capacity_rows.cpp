#include <gtest/gtest.h>

#include <chrono>
#include <opencv2/imgcodecs.hpp>

#include "tests/campaigns/long_llava.h"
#include "tests/campaigns/status_rows.h"

namespace concertina::testing {
namespace {

// What the server may still take while a picture is decoded that needs four times as much.
constexpr int64_t kHeadroomBytes = 12 << 20;
constexpr int kBigPictureSide = 4096;

// One call of its own: any of which there may not be more.
Outcome GetModel(const Wire& wire) {
  grpc::ClientContext context;
  v1::GetModelResponse response;
  return OutcomeOf(wire.stub().GetModel(&context, {}, &response), context);
}

v1::OpenSessionRequest FullCache() {
  v1::OpenSessionRequest open;
  open.mutable_policy()->set_name("full");
  return open;
}

std::vector<Outcome> FullPool() {
  // One long turn with a full cache may need 28 MB.
  Stage stage(LongLlava("40MiB"), {"--queue-timeout", "300ms"});
  if (!stage.ready()) return {};
  const LongTurn first(stage.wire(), {.open = FullCache()});
  const std::string second = OpenSession(stage.wire(), FullCache());
  return {stage.Refuse(TurnOf(second, "me too", kLongTurnTokens), "RESOURCE_EXHAUSTED")};
}

std::vector<Outcome> TooManySessions() {
  Stage stage(TinyLlava(), {"--max-sessions", "1"});
  if (!stage.ready()) return {};
  OpenSession(stage.wire());
  grpc::ClientContext context;
  v1::OpenSessionResponse response;
  return {OutcomeOf(stage.wire().stub().OpenSession(&context, {}, &response), context)};
}

std::vector<Outcome> FullQueue() {
  Stage stage(LongLlava(), {"--max-batch", "1", "--max-queued-turns", "1"});
  if (!stage.ready()) return {};
  const LongTurn running(stage.wire());
  const LongTurn waiting(stage.wire(), {.open = {}, .queued = true});
  EXPECT_EQ(stage.server().Gauge("requests_waiting", 1), 1);
  return {stage.Refuse(TurnOf(OpenSession(stage.wire()), "hi", 1), "RESOURCE_EXHAUSTED")};
}

std::vector<Outcome> LongQueue() {
  Stage stage(LongLlava(), {"--max-batch", "1", "--queue-timeout", "300ms"});
  if (!stage.ready()) return {};
  const LongTurn running(stage.wire());
  return {stage.Refuse(TurnOf(OpenSession(stage.wire()), "hi", 1), "RESOURCE_EXHAUSTED")};
}

// A turn on a server that may remember no more than it does of the turn before: of the same session
// or of another one.
std::vector<Outcome> Remembering(bool same_session, const std::string& code) {
  Stage stage(TinyLlava(),
              {"--max-session-transcript-bytes", "1KiB", "--max-transcript-bytes", "1KiB"});
  if (!stage.ready()) return {};
  const std::string id = OpenSession(stage.wire());
  EXPECT_TRUE(Generate(stage.wire().stub(), TurnOf(id, "Say a lot.", 300)).status.ok());
  const std::string next = same_session ? id : OpenSession(stage.wire());
  return {stage.Refuse(TurnOf(next, "And more.", 1), code)};
}

std::vector<Outcome> TooManyCalls() {
  Stage stage(LongLlava(), {"--max-calls", "1"});
  if (!stage.ready()) return {};
  const LongTurn first(stage.wire());
  return {GetModel(stage.wire())};
}

std::vector<Outcome> TooManyCallsOfOne() {
  Stage stage(LongLlava(), {"--max-calls-per-connection", "1"});
  if (!stage.ready()) return {};
  const LongTurn first(stage.wire());
  EXPECT_TRUE(GetModel(Wire(stage.server().target())).status.ok()) << "another connection";
  return {GetModel(stage.wire())};
}

Outcome EmptyUpload(v1::InferenceService::Stub& stub) {
  grpc::ClientContext context;
  v1::UploadImageResponse response;
  const auto upload = stub.UploadImage(&context, &response);
  upload->WritesDone();
  return OutcomeOf(upload->Finish(), context);
}

std::vector<Outcome> TooManyUploads() {
  Stage stage(TinyLlava(), {"--max-uploads", "1"});
  if (!stage.ready()) return {};
  grpc::ClientContext context;
  v1::UploadImageResponse response;
  v1::UploadImageRequest piece;
  piece.set_chunk("a");
  auto& stub = stage.wire().stub();
  const auto first = stub.UploadImage(&context, &response);
  first->Write(piece);
  // A write returns before the server has seen it. Until it has, the other one is let in (and
  // refused for being empty), or the first one is what is refused.
  auto refused = EmptyUpload(stub);
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (absl::IsInvalidArgument(refused.status) && std::chrono::steady_clock::now() < give_up) {
    if (!first->Write(piece)) return {OutcomeOf(first->Finish(), context)};
    refused = EmptyUpload(stub);
  }
  context.TryCancel();
  first->Finish();
  return {refused};
}

// A picture that takes 48 MiB to decode, on a server that may grow by much less.
std::vector<Outcome> NoMemory() {
  Stage stage(TinyLlava());
  if (!stage.ready()) return {};
  const std::string id = OpenSession(stage.wire());
  EXPECT_TRUE(Generate(stage.wire().stub(), TurnOf(id, "hi", 1)).status.ok());
  std::vector<uint8_t> png;
  cv::imencode(".png", cv::Mat::zeros(kBigPictureSide, kBigPictureSide, CV_8UC3), png);
  v1::GenerateRequest turn;
  turn.set_session_id(id);
  turn.add_parts()->mutable_image()->set_data(std::string(png.begin(), png.end()));
  stage.server().process().LimitGrowth(kHeadroomBytes);
  const auto refused = stage.Refuse(turn, "RESOURCE_EXHAUSTED");
  stage.server().process().LimitGrowth(std::nullopt);
  EXPECT_TRUE(Generate(stage.wire().stub(), TurnOf(id, "go on", 1)).status.ok());
  return {refused};
}

}  // namespace

std::vector<StatusRow> CapacityRows() {
  const auto row = [](const char* condition, const char* reason, auto provoke) {
    return StatusRow{condition, "RESOURCE_EXHAUSTED", reason, provoke, {}, true};
  };
  return {
      row("the pool cannot promise the turn's cache now", "POOL_EXHAUSTED", FullPool),
      row("too many sessions", "SESSION_LIMIT", TooManySessions),
      row("too many queued turns", "QUEUE_FULL", FullQueue),
      row("a turn waited too long", "QUEUE_TIMEOUT", LongQueue),
      row("all conversations are remembered up to the limit", "TRANSCRIPT_LIMIT",
          [] { return Remembering(false, "RESOURCE_EXHAUSTED"); }),
      {"this conversation is remembered up to the limit",
       "FAILED_PRECONDITION",
       "TRANSCRIPT_LIMIT",
       [] { return Remembering(true, "FAILED_PRECONDITION"); },
       {}},
      row("too many calls", "CALL_LIMIT", TooManyCalls),
      row("too many calls of one connection", "CONNECTION_LIMIT", TooManyCallsOfOne),
      row("too many uploads in flight", "UPLOAD_LIMIT", TooManyUploads),
      row("no memory for this request", "OUT_OF_MEMORY", NoMemory),
  };
}

}  // namespace concertina::testing
