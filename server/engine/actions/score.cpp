#include "server/engine/actions/score.h"

#include <algorithm>

#include "server/engine/actions/finish.h"

namespace concertina {
namespace {

constexpr int64_t kLogitRows = 32;  // rows of logits in one slice

// All continuation tokens but the last, in one pass over the folded cache.
absl::Status BeginPass(EngineState& state, Task& task) {
  const LanguageModel& language = *state.model->language;
  const size_t rows = task.continuation.size() - 1;
  std::vector<float> embeddings(rows * language.config().hidden);
  language.Embed(std::span(task.continuation).first(rows), embeddings.data());
  task.scoring_pass = true;
  state.prefilling = &task;
  state.prefill = std::make_unique<PrefillJob>(
      language, *task.session->cache, std::move(embeddings),
      PrefillJob::Options{.fold = false, .all_rows = true}, state.buffers);
  return state.prefill->Begin();
}

void ScoreRows(EngineState& state, Task& task) {
  const LanguageModel& language = *state.model->language;
  const int64_t vocab = language.config().vocab;
  // The continuation's first token was scored after the prompt: row r predicts token r + 1.
  const auto row = static_cast<int64_t>(task.score_logprobs.size()) - 1;
  const auto rows = static_cast<int64_t>(task.continuation.size()) - 1;
  const int64_t n = std::min(kLogitRows, rows - row);
  float* logits = Grow(state.buffers.logits, n * vocab);
  language.Logits(state.prefill->hidden() + row * language.config().hidden, n, logits);
  for (int64_t i = 0; i < n; ++i) RecordScore(task, std::span(logits + i * vocab, vocab));
}

}  // namespace

void RunScoreSlice(EngineState& state, Task& task) {
  if (!state.prefill->finished()) {
    if (auto step = state.prefill->Step(state.options.prefill_slice_rows); !step.ok())
      EndTask(state, task, step.status());
    return;
  }
  ScoreRows(state, task);
  if (task.score_logprobs.size() == task.continuation.size())
    EndTask(state, task, absl::OkStatus());
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
