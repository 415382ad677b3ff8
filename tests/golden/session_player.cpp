#include "tests/golden/session_player.h"

#include <algorithm>
#include <utility>

namespace concertina::testing {
namespace {

CacheOptions FullCache() {
  CacheOptions cache;
  cache.policy = "full";
  cache.entry_type = EntryType::kF32;
  cache.budget = Budget::Ratio(1.0);
  return cache;
}

EngineOptions OptionsFor(const LanguageConfig& config, int64_t tokens_max) {
  EngineOptions options = TestEngine::DefaultOptions();
  // Twice the entries' own size: metadata, and pages that are not full.
  const int64_t token_bytes = config.layers * 2 * config.kv_width() * int64_t{sizeof(float)};
  options.pool_bytes = std::max(options.pool_bytes, 2 * token_bytes * tokens_max);
  return options;
}

}  // namespace

SessionPlayer::SessionPlayer(const std::shared_ptr<const Model>& model, int64_t tokens_max)
    : engine_(OptionsFor(model->language->config(), tokens_max), model) {}

absl::StatusOr<std::string> SessionPlayer::Open(const SessionConversation& conversation) {
  OpenSessionParams params;
  params.cache = FullCache();
  params.system_prompt = conversation.system_prompt;
  params.history = conversation.history;
  auto session = engine_.Open(std::move(params));
  if (!session.ok()) return session.status();
  return session->session_id;
}

absl::StatusOr<PlayedTurn> SessionPlayer::Turn(const std::string& id,
                                               const std::vector<ContentPart>& parts,
                                               int32_t max_tokens, bool ignore_eos) {
  GenerateParams params;
  params.session_id = id;
  params.parts = parts;
  params.max_tokens = max_tokens;
  params.ignore_eos = ignore_eos;
  params.arrival = std::chrono::steady_clock::now();
  const auto sink = engine_.Start(std::move(params));
  if (absl::Status status = sink->Wait(); !status.ok()) return status;
  const auto completed = sink->completed();
  if (!completed) return absl::InternalError("the turn ended without a summary");
  return PlayedTurn{.tokens = sink->tokens(),
                    .text = sink->text(),
                    .stopped = completed->finish_reason == FinishReason::kStop,
                    .tokens_at_start = completed->carried_tokens + completed->prompt_tokens};
}

absl::StatusOr<PlayedTurn> SessionPlayer::Answer(const SessionConversation& conversation,
                                                 int32_t max_tokens) {
  auto id = Open(conversation);
  if (!id.ok()) return id.status();
  auto turn = Turn(*id, conversation.question, max_tokens, /*ignore_eos=*/true);
  Close(*id);
  return turn;
}

absl::StatusOr<ScoreResult> SessionPlayer::Score(std::vector<int32_t> prompt,
                                                 std::vector<int32_t> continuation, bool stepwise) {
  ScoreParams params;
  params.prompt = std::move(prompt);
  params.continuation = std::move(continuation);
  params.cache = FullCache();
  params.fold_in_decode = stepwise;
  return engine_.Score(std::move(params));
}

}  // namespace concertina::testing
