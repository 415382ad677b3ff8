#include "server/engine/actions/score.h"

#include <algorithm>

#include "models/kernels/logits.h"
#include "server/engine/actions/finish.h"
#include "server/engine/actions/prompt_order.h"
#include "server/engine/prompt_work.h"

namespace concertina {
namespace {

// Rows of logits in one slice.
constexpr int64_t kLogitUnit = 4, kMostLogitRows = 32;

// All continuation tokens but the last, in one pass over the folded cache.
absl::Status BeginPass(EngineState& state, Task& task) {
  const LanguageModel& language = *state.model->language;
  const size_t rows = task.continuation.size() - 1;
  std::vector<float> embeddings(rows * language.config().hidden);
  language.Embed(std::span(task.continuation).first(rows), embeddings.data());
  task.scoring_pass = true;
  BeginPrompt(state, task);
  task.prompt->prefill = std::make_unique<PrefillJob>(
      language, *task.session->cache, std::move(embeddings),
      PrefillJob::Options{.fold = false, .all_rows = true}, state.buffers);
  return task.prompt->prefill->Begin();
}

// False when no row fits.
bool ScoreRows(EngineState& state, Task& task, const SliceLimit& limit) {
  const LanguageModel& language = *state.model->language;
  const LanguageConfig& config = language.config();
  const int64_t vocab = config.vocab;
  // The continuation's first token was scored after the prompt: row r predicts token r + 1.
  const auto row = static_cast<int64_t>(task.score_logprobs.size()) - 1;
  const auto left = static_cast<int64_t>(task.continuation.size()) - 1 - row;
  const auto shares_of = [&](int64_t rows) { return LogitShares(config, rows); };
  const int64_t n =
      SliceRows(state.logit_cost, limit, kLogitUnit, std::min(kMostLogitRows, left), shares_of);
  if (n == 0) return false;
  const auto begin = state.Now();
  float* logits = Grow(state.buffers.logits, n * vocab);
  language.Logits(task.prompt->prefill->hidden() + row * config.hidden, n, logits);
  for (int64_t i = 0; i < n; ++i) RecordScore(task, std::span(logits + i * vocab, vocab));
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
  if (!ScoreRows(state, task, limit)) return false;
  if (task.score_logprobs.size() == task.continuation.size()) {
    EndTask(state, task, absl::OkStatus());
  }
  return true;
}

void RecordScore(Task& task, std::span<const float> logits) {
  const int32_t token = task.continuation[task.score_logprobs.size()];
  task.score_logprobs.push_back(static_cast<float>(double{logits[token]} - LogSumExp(logits)));
  task.score_argmax.push_back(ArgMax(logits));
}

void ScoreAfterPrompt(EngineState& state, Task& task, const std::vector<float>& last_hidden) {
  const int64_t vocab = state.model->language->config().vocab;
  float* logits = Grow(state.buffers.logits, vocab);
  state.model->language->Logits(last_hidden.data(), 1, logits);
  task.score_cache = SnapshotOf(*task.session->cache);
  RecordScore(task, std::span(logits, vocab));
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
