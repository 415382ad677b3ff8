#include "server/engine/actions/score.h"

#include <algorithm>

#include "models/kernels/logits.h"
#include "server/engine/actions/finish.h"
#include "server/engine/actions/prompt_order.h"
#include "server/engine/prompt_work.h"

namespace concertina {
namespace {

// All continuation tokens but the last, in one pass over the folded cache.
absl::Status BeginPass(EngineState& state, Task& task) {
  const size_t rows = task.continuation.size() - 1;
  std::vector<float> embeddings(rows * state.model->config.hidden);
  const auto ids = std::span(task.continuation).first(rows);
  if (absl::Status status = state.runner->Embed(ids, embeddings.data()); !status.ok()) {
    return status;
  }
  task.scoring_pass = true;
  BeginPrompt(state, task);
  task.prompt->prefill = state.runner->MakePass(*task.session->cache, std::move(embeddings),
                                                {.fold = false, .all_rows = true});
  return task.prompt->prefill->Begin();
}

// False when no row fits.
absl::StatusOr<bool> ScoreRows(EngineState& state, Task& task, const SliceLimit& limit) {
  const LanguageConfig& config = state.model->config;
  const int64_t vocab = config.vocab;
  // The continuation's first token was scored after the prompt: row r predicts token r + 1.
  const auto row = static_cast<int64_t>(task.score_logprobs.size()) - 1;
  const auto left = static_cast<int64_t>(task.continuation.size()) - 1 - row;
  const auto shares_of = [&](int64_t rows) { return LogitShares(config, rows); };
  const int64_t n =
      SliceRows(state.logit_cost, limit, kLogitUnit, std::min(kMostLogitRows, left), shares_of);
  if (n == 0) return false;
  const auto begin = state.Now();
  const auto logits = state.runner->Logits(task.prompt->prefill->hidden() + row * config.hidden, n);
  if (!logits.ok()) return logits.status();
  for (int64_t i = 0; i < n; ++i) RecordScore(task, std::span(*logits + i * vocab, vocab));
  state.logit_cost.Learn(shares_of(n), state.Now() - begin);
  return true;
}

}  // namespace

absl::StatusOr<bool> RunScoreSlice(EngineState& state, Task& task, const SliceLimit& limit) {
  if (!task.prompt->prefill->finished()) {
    const auto through = RunLayerSlice(state, task, limit);
    if (!through.ok()) return through.status();
    return through->has_value();
  }
  const auto scored = ScoreRows(state, task, limit);
  if (!scored.ok() || !*scored) return scored;
  if (task.score_logprobs.size() == task.continuation.size()) {
    EndTask(state, task, absl::OkStatus());
  }
  return true;
}

void RecordScore(Task& task, std::span<const float> logits) {
  const int32_t token = task.continuation[task.score_logprobs.size()];
  const double sum = LogSumExp(logits);
  task.score_logprobs.push_back(static_cast<float>(double{logits[token]} - sum));
  if (task.score_logprobs.size() == task.continuation.size()) {
    for (const int32_t choice : task.choices) {
      task.choice_logprobs.push_back(static_cast<float>(double{logits[choice]} - sum));
    }
  }
  task.score_argmax.push_back(ArgMax(logits));
}

void ScoreAfterPrompt(EngineState& state, Task& task, std::span<const float> last_hidden) {
  const int64_t vocab = state.model->config.vocab;
  const auto logits = state.runner->Logits(last_hidden.data(), 1);
  if (!logits.ok()) return EndTask(state, task, logits.status());
  task.score_cache = SnapshotOf(*task.session->cache);
  RecordScore(task, std::span(*logits, vocab));
  if (task.continuation.size() == 1) return EndTask(state, task, absl::OkStatus());
  if (!task.fold_in_decode) {
    if (absl::Status status = BeginPass(state, task); !status.ok()) EndTask(state, task, status);
    return;
  }
  task.segments.front().answer.assign(task.continuation.begin(), task.continuation.end() - 1);
  task.answer_fed = 0;
  task.phase = Task::Phase::kDecode;
  task.session->cache->BeginDecode();
}

}  // namespace concertina
