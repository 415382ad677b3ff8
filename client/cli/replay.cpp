#include "client/cli/replay.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace concertina::cli {
namespace {

constexpr char kFull[] = "full";

v1::ScoreRequest MakeRequest(const ReplayPrompt& prompt, const ReplayOptions& options) {
  v1::ScoreRequest request;
  for (const int32_t id : prompt.prompt) request.mutable_prompt()->mutable_ids()->add_ids(id);
  // The answer's first token is fed as part of the continuation; its own score is not counted.
  for (const int32_t id : prompt.answer) request.mutable_continuation()->mutable_ids()->add_ids(id);
  *request.mutable_policy() = options.policy;
  if (options.budget.unit_case() != v1::Budget::UNIT_NOT_SET) {
    *request.mutable_budget() = options.budget;
  }
  request.set_fold(options.fold);
  return request;
}

// The same prompt with everything kept, in the same type.
v1::ScoreRequest MakeFullRequest(const ReplayPrompt& prompt, const ReplayOptions& options) {
  ReplayOptions full;
  full.policy.set_name(kFull);
  full.policy.set_entry_type(options.policy.entry_type());
  // A ratio of 1: a server's default in bytes would also cap the full cache.
  full.budget.set_ratio(1.0);
  return MakeRequest(prompt, full);
}

absl::StatusOr<v1::ScoreResponse> Call(const ScoreCall& score, const v1::ScoreRequest& request) {
  auto response = score(request);
  if (!response.ok()) return response;
  const int expected = request.continuation().ids().ids_size();
  if (response->logprobs_size() != expected || response->argmax_ids_size() != expected) {
    return absl::InternalError(
        absl::StrCat("the server scored ", response->logprobs_size(), " tokens of ", expected));
  }
  return response;
}

double MeanNll(const v1::ScoreResponse& response) {
  double sum = 0;
  for (int i = 1; i < response.logprobs_size(); ++i) sum -= response.logprobs(i);
  return sum / (response.logprobs_size() - 1);
}

double Agreement(const v1::ScoreResponse& one, const v1::ScoreResponse& other) {
  int equal = 0;
  for (int i = 1; i < one.argmax_ids_size(); ++i) {
    equal += one.argmax_ids(i) == other.argmax_ids(i) ? 1 : 0;
  }
  return static_cast<double>(equal) / (one.argmax_ids_size() - 1);
}

}  // namespace

TaskScore Summarise(const std::vector<PromptScore>& prompts) {
  double nll = 0;
  double excess = 0;
  double agreement = 0;
  for (const PromptScore& prompt : prompts) {
    nll += prompt.nll;
    excess += prompt.nll - prompt.full_nll;
    agreement += prompt.agreement;
  }
  const auto count = static_cast<double>(prompts.size());
  return {.ppl = std::exp(nll / count),
          .ratio = std::exp(excess / count),
          .agreement = agreement / count,
          .prompts = static_cast<int>(prompts.size())};
}

absl::StatusOr<ReplayScores> Replay(const ReplayFile& file, const ReplayOptions& options,
                                    const ScoreCall& score,
                                    const std::function<void(const PromptScore&)>& on_prompt) {
  ReplayScores scores;
  std::map<std::string, std::vector<PromptScore>> by_task;
  for (const ReplayPrompt& prompt : file.prompts) {
    const auto full = Call(score, MakeFullRequest(prompt, options));
    if (!full.ok()) return full.status();
    // The full cache is not measured twice, unless a cap in bytes could make a difference.
    const bool is_full = options.policy.name() == kFull && !options.budget.has_bytes();
    const auto own = is_full ? full : Call(score, MakeRequest(prompt, options));
    if (!own.ok()) return own.status();
    PromptScore result{.task = prompt.task, .index = prompt.index};
    result.nll = MeanNll(*own);
    result.full_nll_measured = MeanNll(*full);
    result.full_nll = options.measure_full ? result.full_nll_measured
                                           : prompt.full_nll.value_or(result.full_nll_measured);
    result.agreement = Agreement(*own, *full);
    if (on_prompt) on_prompt(result);
    by_task[prompt.task].push_back(result);
    scores.prompts.push_back(std::move(result));
  }
  for (const auto& [task, prompts] : by_task) scores.tasks[task] = Summarise(prompts);
  scores.all = Summarise(scores.prompts);
  return scores;
}

}  // namespace concertina::cli
