#include "server/engine/actions/score.h"

#include <algorithm>

#include "server/engine/actions/finish.h"

namespace concertina {
namespace {

constexpr int64_t kLogitRows = 32;  // rows of logits held at once

// All continuation tokens but the last, in one pass over the folded cache.
absl::Status ScoreChunk(EngineState& state, Task& task) {
  const LanguageModel& language = *state.model->language;
  const int64_t width = language.config().hidden;
  const int64_t vocab = language.config().vocab;
  const auto rows = static_cast<int64_t>(task.continuation.size()) - 1;
  std::vector<float> embeddings(rows * width);
  language.Embed(std::span(task.continuation).first(rows), embeddings.data());
  PrefillJob job(language, *task.session->cache, std::move(embeddings),
                 {.fold = false, .all_rows = true, .slice_rows = state.options.prefill_slice_rows},
                 state.buffers);
  if (absl::Status status = job.Begin(); !status.ok()) return status;
  for (bool finished = false; !finished;) {
    auto step = job.Step();
    if (!step.ok()) return step.status();
    finished = *step;
  }
  for (int64_t row = 0; row < rows; row += kLogitRows) {
    const int64_t n = std::min(kLogitRows, rows - row);
    float* logits = Grow(state.buffers.logits, n * vocab);
    language.Logits(job.hidden() + row * width, n, logits);
    for (int64_t i = 0; i < n; ++i) RecordScore(task, std::span(logits + i * vocab, vocab));
  }
  return absl::OkStatus();
}

}  // namespace

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
  if (!task.fold_in_decode) return EndTask(state, task, ScoreChunk(state, task));
  task.segments.front().answer.assign(task.continuation.begin(), task.continuation.end() - 1);
  task.answer_fed = 0;
  task.phase = Task::Phase::kDecode;
  task.session->cache->BeginDecode();
}

}  // namespace concertina
