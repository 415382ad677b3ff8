#include "tests/campaigns/stage.h"

#include <gtest/gtest.h>

#include <future>

#include "absl/strings/str_cat.h"
#include "tests/campaigns/campaign.h"

namespace concertina::testing {
namespace {

constexpr char kRetryEverything[] = R"({"methodConfig": [{"name": [{}], "retryPolicy": {
    "maxAttempts": 2, "initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 1,
    "retryableStatusCodes": ["INVALID_ARGUMENT", "NOT_FOUND", "ABORTED", "FAILED_PRECONDITION",
                             "RESOURCE_EXHAUSTED", "UNAVAILABLE"]}}]})";
constexpr std::chrono::seconds kMetricsLimit{20};
constexpr std::chrono::seconds kRefusalLimit{60};

}  // namespace

LongTurn::LongTurn(const Wire& wire) : LongTurn(wire, Options()) {}

LongTurn::LongTurn(const Wire& wire, const Options& options)
    : session_id_(OpenSession(wire, options.open)) {
  std::promise<void> decodes;
  auto decoding = decodes.get_future();
  thread_ = std::thread(
      [this, &wire, tokens = options.max_tokens, decodes = std::move(decodes)]() mutable {
        bool told = false;
        const auto tell = [&](const v1::GenerateResponse&, const WireTurn& turn) {
          if (told || turn.tokens.empty()) return;
          told = true;
          decodes.set_value();
        };
        const auto request = TurnOf(session_id_, "Tell me everything.", tokens);
        turn_ = Generate(wire.stub(), request, context_, tell);
        if (!told) decodes.set_value();
      });
  if (!options.queued) decoding.wait();
}

LongTurn::~LongTurn() {
  context_.TryCancel();
  if (thread_.joinable()) thread_.join();
}

Outcome LongTurn::Wait() {
  thread_.join();
  return OutcomeOf(turn_.status, context_);
}

Stage::Stage(std::vector<std::string> flags, const std::vector<std::string>& more) {
  flags.insert(flags.end(), more.begin(), more.end());
  auto server = ServerProcess::Start(std::move(flags));
  EXPECT_TRUE(server.ok()) << server.status();
  if (!server.ok()) return;
  server_ = *std::move(server);
  wire_ = std::make_unique<Wire>(server_->target());
  retrying_ = std::make_unique<Wire>(server_->target(), kRetryEverything);
}

double Stage::Calls(const std::string& method, const std::string& code) const {
  return std::max(0.0, server_->Metric("requests_total",
                                       absl::StrCat("code=\"", code, "\",method=\"", method)));
}

Outcome Stage::Refuse(const v1::GenerateRequest& request, const std::string& code) {
  const double before = Calls("Generate", code);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kRefusalLimit);
  const WireTurn turn = Generate(retrying_->stub(), request, context);
  EXPECT_FALSE(turn.started) << "an event came before the refusal";
  EXPECT_TRUE(Eventually(kMetricsLimit, [&] { return Calls("Generate", code) == before + 2; }))
      << "attempts ended with " << code << ": " << Calls("Generate", code) - before;
  return OutcomeOf(turn.status, context);
}

}  // namespace concertina::testing
