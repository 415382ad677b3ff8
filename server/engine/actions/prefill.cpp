#include "server/engine/actions/prefill.h"

#include <algorithm>

#include "server/engine/actions/cache_refusal.h"
#include "server/engine/actions/finish.h"
#include "server/engine/actions/pictures.h"
#include "server/engine/actions/probe.h"
#include "server/engine/actions/prompt.h"
#include "server/engine/actions/prompt_order.h"
#include "server/engine/actions/score.h"
#include "server/engine/prompt_work.h"

namespace concertina {
namespace {

// Slices of so many rows, or a multiple, give the same results however they are cut.
constexpr int32_t kSliceUnit = 16;

constexpr std::chrono::milliseconds kProgressInterval{50};
constexpr std::chrono::milliseconds kYieldingSlice{5};

bool AnyAnswer(const EngineState& state) {
  return std::any_of(state.running.begin(), state.running.end(),
                     [](const auto& task) { return task->phase == Task::Phase::kDecode; });
}

void ReportProgress(EngineState& state, Task& task) {
  const PromptPass* job = task.prompt ? task.prompt->prefill.get() : nullptr;
  if (!task.sink || !job) return;
  const auto now = state.Now();
  if (now - task.progress_sent < kProgressInterval) return;
  task.progress_sent = now;
  task.sink->OnEvent(PrefillProgressEvent{job->done(), job->total()});
}

// The next piece of work on a prompt. False when it does not fit any more.
absl::StatusOr<bool> Advance(EngineState& state, Task& task, const SliceLimit& limit) {
  PromptState& prompt = *task.prompt;
  if (prompt.prefill) {
    if (task.scoring_pass) return RunScoreSlice(state, task, limit);
    if (prompt.probe && prompt.probe->reading) return RunProbeSlice(state, task, limit);
    const auto through = RunLayerSlice(state, task, limit);
    if (!through.ok()) return through.status();
    if (through->value_or(false)) FinishPrompt(state, task);
    return through->has_value();
  }
  if (!prompt.embedded) {
    if (absl::Status status = EmbedPrompt(state, task); !status.ok()) return status;
  } else if (prompt.pictures_done < task.segments.front().images.size()) {
    return RunPictureSlice(state, task, limit);
  } else if (absl::Status status = BeginLayers(state, task); !status.ok()) {
    return status;
  }
  return true;
}

}  // namespace

bool RunPrefill(EngineState& state) {
  Task* task = NextPrompt(state);
  if (!task) return false;
  const bool answering = AnyAnswer(state);
  const auto until = state.pace.PromptsUntil(state.Now(), answering);
  if (!until) return true;
  for (bool first = true; task->prompt && !task->control->cancelled.load(); first = false) {
    const auto now = state.Now();
    // What has the lowest rank looks up after every slice.
    const bool yields = task->kind == Task::Kind::kRefine;
    if (!first && (yields || now >= *until)) break;
    // Without answers nobody waits, but the engine has other things to look after.
    SliceCost::Nanoseconds left = answering ? *until - now : state.options.prefill_step;
    if (yields) left = std::min<SliceCost::Nanoseconds>(left, kYieldingSlice);
    const auto advanced = Advance(state, *task, {left, first});
    if (!advanced.ok()) EndTask(state, *task, advanced.status());
    if (!advanced.ok() || !*advanced) break;
  }
  ReportProgress(state, *task);
  return true;
}

int64_t SliceRows(const SliceCost& cost, const SliceLimit& limit, int64_t unit, int64_t most,
                  absl::FunctionRef<SliceCost::Shares(int64_t rows)> shares_of) {
  const int64_t rows = RowsThatFit(cost, limit.time, unit, most, shares_of);
  return limit.first ? std::max(rows, std::min(unit, most)) : rows;
}

absl::StatusOr<std::optional<bool>> RunLayerSlice(EngineState& state, Task& task,
                                                  const SliceLimit& limit) {
  PromptPass& job = *task.prompt->prefill;
  const LanguageConfig& config = state.model->config;
  const int32_t left = job.tokens() - job.row();
  const int32_t largest = job.whole_layers() ? left : state.options.prefill_slice_rows;
  const int32_t unit = job.whole_layers() ? left : std::min(kSliceUnit, largest);
  const int32_t layer = job.layer();
  const bool folds = !task.prompt->probe || !task.prompt->probe->reading;
  const int64_t key = job.first_key();
  const auto shares_of = [&](int64_t rows) {
    const int64_t loaded = job.row() == 0 ? key : 0;
    const int64_t folded = folds && rows == left ? key + rows : 0;
    return LayerSliceShares(config, rows, key, loaded + folded);
  };
  const int32_t most = std::min(largest / unit * unit, left);
  const int64_t rows = SliceRows(state.layer_cost, limit, unit, most, shares_of);
  if (rows == 0) return std::optional<bool>();
  const SliceCost::Shares shares = shares_of(rows);
  const auto begin = state.Now();
  const auto through = job.Step(static_cast<int32_t>(rows));
  if (!through.ok()) return CacheRefusal(through.status());
  state.observer->OnPrefillSlice(rows, key);
  // The last layer leaves out what nobody needs.
  if (layer + 1 < config.layers) state.layer_cost.Learn(shares, state.Now() - begin);
  CountWork(state, task, SliceMacs(config, rows, key));
  return std::optional<bool>(*through);
}

}  // namespace concertina
