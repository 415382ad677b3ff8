#include "server/rpc/parse/score.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/engine/errors.h"
#include "server/rpc/parse/cache_options.h"
#include "server/rpc/parse/checks.h"

namespace concertina {
namespace {

absl::StatusOr<std::vector<int32_t>> ParseIds(const google::protobuf::RepeatedField<int32_t>& ids,
                                              const std::string& field, int32_t vocab) {
  for (int i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab) {
      return FieldError(Indexed(field, i), absl::StrCat("must be in [0, ", vocab, ")"));
    }
  }
  return std::vector<int32_t>(ids.begin(), ids.end());
}

absl::StatusOr<std::vector<int32_t>> ParseSequence(const v1::TokenSequence& sequence,
                                                   const std::string& field, bool starts,
                                                   bool allow_special, const Model& model) {
  std::vector<int32_t> ids;
  if (sequence.has_ids()) {
    auto parsed = ParseIds(sequence.ids().ids(), field + ".ids.ids", model.config.vocab);
    if (!parsed.ok()) return parsed.status();
    ids = *std::move(parsed);
  } else if (sequence.has_text()) {
    const Tokenizer& tokenizer = *model.tokenizer;
    const auto special = allow_special ? Tokenizer::Special::kParse : Tokenizer::Special::kInert;
    ids = starts ? tokenizer.Encode(sequence.text(), special)
                 : tokenizer.EncodeContinuation(sequence.text(), special);
    if (starts && !ids.empty() && tokenizer.adds_bos() && tokenizer.bos().has_value()) {
      ids.insert(ids.begin(), *tokenizer.bos());
    }
  }
  if (ids.empty()) return FieldError(field, "must not be empty");
  return ids;
}

// What Score would ignore is refused: the caller believes that it acts.
absl::Status CheckSessionOptions(const CacheOptions& cache) {
  // Written so that NaN is no budget of 0.
  if (cache.image_budget && !(*cache.image_budget == 0)) {
    return FieldError("policy.image_budget", "there are no pictures");
  }
  if (cache.merge_images) return FieldError("policy.merge_images", "there are no pictures");
  if (cache.probe_tokens.value_or(0) != 0) {
    return FieldError("policy.probe_tokens", "only sessions are probed");
  }
  if (cache.policy_options.repeat_when_idle) {
    return FieldError("policy.repeat_when_idle", "only sessions are idle");
  }
  if (cache.min_quality != 0) return FieldError("policy.min_quality", "only sessions have a floor");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ScoreParams> ParseScore(const v1::ScoreRequest& request,
                                       const EngineOptions& options, const Model& model) {
  ScoreParams params;
  auto cache =
      ParseCacheOptions(request.has_policy() ? &request.policy() : nullptr,
                        request.has_budget() ? &request.budget() : nullptr, options.default_policy);
  if (!cache.ok()) return cache.status();
  params.cache = *std::move(cache);
  if (params.cache.pin_system_prompt) {
    return FieldError("policy.pin_system_prompt", "there is no system prompt");
  }
  if (absl::Status status = CheckSessionOptions(params.cache); !status.ok()) return status;
  if (!v1::ScoreFold_IsValid(request.fold())) return FieldError("fold", "unknown value");
  params.fold_in_decode = request.fold() == v1::SCORE_FOLD_DECODE;
  for (int i = 0; i < request.turns_size(); ++i) {
    auto turn = ParseSequence(request.turns(i), Indexed("turns", i), /*starts=*/i == 0,
                              request.allow_special(), model);
    if (!turn.ok()) return turn.status();
    params.turns.push_back(*std::move(turn));
  }
  auto prompt = ParseSequence(request.prompt(), "prompt", /*starts=*/params.turns.empty(),
                              request.allow_special(), model);
  if (!prompt.ok()) return prompt.status();
  params.prompt = *std::move(prompt);
  auto continuation = ParseSequence(request.continuation(), "continuation", /*starts=*/false,
                                    request.allow_special(), model);
  if (!continuation.ok()) return continuation.status();
  params.continuation = *std::move(continuation);
  auto choices = ParseIds(request.choices(), "choices", model.config.vocab);
  if (!choices.ok()) return choices.status();
  params.choices = *std::move(choices);
  return params;
}

}  // namespace concertina
