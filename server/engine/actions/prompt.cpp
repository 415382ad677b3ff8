#include "server/engine/actions/prompt.h"

#include <algorithm>
#include <utility>

#include "server/engine/actions/budget.h"
#include "server/engine/actions/cache_refusal.h"
#include "server/engine/actions/context.h"
#include "server/engine/actions/deliver.h"
#include "server/engine/actions/finish.h"
#include "server/engine/actions/probe.h"
#include "server/engine/actions/refine.h"
#include "server/engine/actions/score.h"

namespace concertina {
namespace {

void ReportFold(EngineState& state, const Task& task) {
  int64_t before = 0, after = 0;
  double mass = 0;
  for (const FoldReport& fold : task.folds) {
    before += fold.entries_before;
    after += fold.entries_after;
    mass += fold.mass_kept;
  }
  state.observer->OnFold(task.session->policy, before - after,
                         before > 0 ? static_cast<double>(after) / static_cast<double>(before) : 1,
                         mass / static_cast<double>(task.folds.size()),
                         std::chrono::duration<double>(task.fold_time).count());
}

void ReportQuality(EngineState& state, Task& task) {
  if (!IsTurnsOwnPrompt(task)) return;
  const EngineSession& session = *task.session;
  task.quality.budget_entries = session.cache->effective_budget().entries_total;
  task.quality.raised_for_quality = session.raised_budget.has_value();
  state.observer->OnQuality(session.policy, task.quality);
}

void TakeIntoTranscript(EngineState& state, Task& task) {
  Segment& segment = task.segments.front();
  if (task.replayed_segments > 0) return;  // a rebuild: it is there already
  const auto images = static_cast<int64_t>(segment.images.size()) * state.model->image_tokens;
  state.observer->OnPrompt(static_cast<int64_t>(segment.prompt.size()) - images, images);
  if (task.kind == Task::Kind::kScore) return;
  Segment kept = segment;
  kept.answer.clear();  // grows as tokens are fed
  task.session->transcript.push_back(std::move(kept));
  task.session->unfed.clear();
}

void AfterPrompt(EngineState& state, Task& task, std::span<const float> last_hidden) {
  const Segment& segment = task.segments.front();
  if (task.kind == Task::Kind::kScore) {
    if (task.segments.size() > 1) return NextSegment(state, task);
    return ScoreAfterPrompt(state, task, last_hidden);
  }
  if (!segment.answer.empty()) {
    task.answer_fed = 0;
    task.phase = Task::Phase::kDecode;
    task.session->cache->BeginDecode();
    return;
  }
  if (task.kind != Task::Kind::kTurn || task.segments.size() > 1) return NextSegment(state, task);
  task.sink->OnEvent(FoldedEvent{task.folds, SnapshotOf(*task.session)});
  task.phase = Task::Phase::kDecode;
  task.session->cache->BeginDecode();
  const auto logits = state.runner->Logits(last_hidden.data(), 1);
  if (!logits.ok()) return EndTask(state, task, logits.status());
  DeliverToken(state, task, *logits);
}

}  // namespace

absl::Status EmbedPrompt(EngineState& state, Task& task) {
  const Segment& segment = task.segments.front();
  task.prefill_begin = state.Now();
  task.prompt->embedded = true;
  task.prompt->embeddings.resize(segment.prompt.size() * state.model->config.hidden);
  return state.runner->Embed(segment.prompt, task.prompt->embeddings.data());
}

absl::Status BeginLayers(EngineState& state, Task& task) {
  Segment& segment = task.segments.front();
  ConversationCache& cache = *task.session->cache;
  UseBudgetForPrompt(task);
  PrepareProbe(state, task);
  const int64_t position = cache.next_position();
  if (absl::Status status = MakeRoom(state, cache, segment.room); !status.ok()) return status;
  task.unsettled = cache.next_position() != position;
  // The session itself has a picture once its prompt is through.
  const bool adapter = task.session->adapter || !segment.images.empty();
  PromptState& prompt = *task.prompt;
  PromptPass::Options options{.adapter = adapter && state.model->adapter, .pins = segment.pins};
  for (const auto& [first, rows] : segment.image_spans) options.pictures.push_back({first, rows});
  if (prompt.probe) {
    options.last_rows = prompt.probe->rows;
    const auto tokens = static_cast<int64_t>(segment.prompt.size());
    prompt.probe->position = cache.next_position() + tokens - prompt.probe->rows;
  }
  if (task.replayed_segments == 0) segment.repeated = RepeatsAtOnce(task);
  if (segment.repeated) {
    const std::vector<int32_t>& request = state.RepeatRequest();
    options.repeat_request.resize(request.size() * state.model->config.hidden);
    absl::Status status = state.runner->Embed(request, options.repeat_request.data());
    if (!status.ok()) return status;
  }
  prompt.prefill =
      state.runner->MakePass(cache, std::exchange(prompt.embeddings, {}), std::move(options));
  state.observer->OnReusedEntries(cache.live_entries());
  return CacheRefusal(prompt.prefill->Begin());
}

void FinishPrompt(EngineState& state, Task& task) {
  const PromptPass& job = *task.prompt->prefill;
  task.folds = job.folds();
  task.fold_time = job.fold_time();
  task.timings.fold += task.fold_time;
  task.timings.prefill += state.Now() - task.prefill_begin;
  const int32_t raises = task.quality.raises;
  task.quality = QualityOf(task.folds);
  task.quality.raises = raises;
  if (task.prompt->probe) {
    if (absl::Status status = StartProbe(state, task); !status.ok()) EndTask(state, task, status);
    return;
  }
  const float* last = job.last_hidden();
  const std::vector<float> last_hidden(last, last + state.model->config.hidden);
  SettlePrompt(state, task, last_hidden);
}

void SettlePrompt(EngineState& state, Task& task, std::span<const float> last_hidden) {
  ReportFold(state, task);
  ReportQuality(state, task);
  TakeIntoTranscript(state, task);
  if (!task.segments.front().images.empty()) task.session->adapter = true;
  task.unsettled = false;
  AbandonPrompt(state, task);
  AfterPrompt(state, task, last_hidden);
}

void AbandonPrompt(EngineState& state, Task& task) {
  std::erase(state.prompts, &task);
  task.prompt.reset();
}

}  // namespace concertina
