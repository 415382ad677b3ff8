#include "server/engine/actions/prefill.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "server/engine/actions/budget.h"
#include "server/engine/actions/cache_refusal.h"
#include "server/engine/actions/context.h"
#include "server/engine/actions/deliver.h"
#include "server/engine/actions/finish.h"
#include "server/engine/actions/score.h"

namespace concertina {
namespace {

constexpr std::chrono::milliseconds kProgressInterval{50};

FeatureCache::Features FeaturesOf(EngineState& state, Task& task, const PreparedImage& image) {
  if (auto found = state.features.Find(image.sha256)) return found;
  const auto begin = state.Now();
  const Model& model = *state.model;
  auto features = std::make_shared<std::vector<float>>(int64_t{model.image_tokens} *
                                                       model.language->config().hidden);
  model.vision->Encode(image.pixels.data(), 1, features->data());
  const auto spent = state.Now() - begin;
  task.timings.vision += spent;
  state.observer->OnVision(std::chrono::duration<double>(spent).count());
  state.features.Insert(image.sha256, features);
  return features;
}

// Token embeddings with each picture's features in its place: [tokens, hidden].
std::vector<float> Embeddings(EngineState& state, Task& task, const Segment& segment) {
  const LanguageModel& language = *state.model->language;
  const int64_t width = language.config().hidden;
  std::vector<float> rows(segment.prompt.size() * width);
  language.Embed(segment.prompt, rows.data());
  for (size_t i = 0; i < segment.images.size(); ++i) {
    const auto features = FeaturesOf(state, task, *segment.images[i]);
    const auto [first, count] = segment.image_spans[i];
    std::memcpy(rows.data() + first * width, features->data(), count * width * sizeof(float));
  }
  return rows;
}

absl::Status StartPrefill(EngineState& state, Task& task) {
  const Segment& segment = task.segments.front();
  UseBudgetForPrompt(task);
  const int64_t position = task.session->cache->next_position();
  if (absl::Status status = MakeRoom(state, *task.session->cache, segment.room); !status.ok()) {
    return status;
  }
  task.rebased = task.session->cache->next_position() != position;
  // The session itself has a picture once its prompt is through.
  const bool adapter = task.session->adapter || !segment.images.empty();
  task.prefill_begin = state.Now();
  state.prefilling = &task;
  state.prefill = std::make_unique<PrefillJob>(
      *state.model->language, *task.session->cache, Embeddings(state, task, segment),
      PrefillJob::Options{.adapter = adapter && state.model->adapter}, state.buffers);
  state.observer->OnReusedEntries(task.session->cache->live_entries());
  return CacheRefusal(state.prefill->Begin());
}

void ReportFold(EngineState& state, Task& task) {
  task.folds = state.prefill->folds();
  task.timings.fold += state.prefill->fold_time();
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
                         std::chrono::duration<double>(state.prefill->fold_time()).count());
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

void AfterPrompt(EngineState& state, Task& task, const std::vector<float>& last_hidden) {
  const Segment& segment = task.segments.front();
  if (task.kind == Task::Kind::kScore) return ScoreAfterPrompt(state, task, last_hidden);
  if (!segment.answer.empty()) {
    task.answer_fed = 0;
    task.phase = Task::Phase::kDecode;
    task.session->cache->BeginDecode();
    return;
  }
  if (task.kind == Task::Kind::kReplay || task.segments.size() > 1) return NextSegment(state, task);
  task.sink->OnEvent(FoldedEvent{task.folds, SnapshotOf(*task.session->cache)});
  task.phase = Task::Phase::kDecode;
  task.session->cache->BeginDecode();
  float* logits = Grow(state.buffers.logits, state.model->language->config().vocab);
  state.model->language->Logits(last_hidden.data(), 1, logits);
  DeliverToken(state, task, logits);
}

void FinishPrefill(EngineState& state, Task& task) {
  const float* last = state.prefill->last_hidden();
  const std::vector<float> last_hidden(last, last + state.model->language->config().hidden);
  ReportFold(state, task);
  task.timings.prefill += state.Now() - task.prefill_begin;
  TakeIntoTranscript(state, task);
  if (!task.segments.front().images.empty()) task.session->adapter = true;
  task.rebased = false;
  state.prefill.reset();
  state.prefilling = nullptr;
  AfterPrompt(state, task, last_hidden);
}

void ReportProgress(EngineState& state, Task& task) {
  if (!task.sink) return;
  const auto now = state.Now();
  if (now - task.progress_sent < kProgressInterval) return;
  task.progress_sent = now;
  task.sink->OnEvent(PrefillProgressEvent{state.prefill->done(), state.prefill->total()});
}

// A decode step reads all weights for as many rows as there are answers running, often one or two:
// after every slice of a few milliseconds it would take most of the time.
absl::StatusOr<bool> RunSlices(EngineState& state, const Task& task) {
  const auto end = state.Now() + state.options.prefill_step;
  const int32_t rows = state.options.prefill_slice_rows;
  auto finished = state.prefill->Step(rows);
  while (finished.ok() && !*finished && state.Now() < end && !task.control->cancelled.load()) {
    finished = state.prefill->Step(rows);
  }
  return finished;
}

Task* NextToPrefill(EngineState& state) {
  if (state.prefilling) return state.prefilling;
  auto found = std::find_if(state.running.begin(), state.running.end(),
                            [](const auto& task) { return task->phase == Task::Phase::kPrefill; });
  return found == state.running.end() ? nullptr : found->get();
}

}  // namespace

bool RunPrefillSlice(EngineState& state) {
  Task* task = NextToPrefill(state);
  if (!task) return false;
  if (!state.prefill) {
    if (absl::Status status = StartPrefill(state, *task); !status.ok()) {
      EndTask(state, *task, status);
      return true;
    }
  }
  if (task->scoring_pass) {
    RunScoreSlice(state, *task);
    return true;
  }
  auto finished = RunSlices(state, *task);
  if (!finished.ok()) {
    EndTask(state, *task, CacheRefusal(finished.status()));
  } else if (*finished) {
    FinishPrefill(state, *task);
  } else {
    ReportProgress(state, *task);
  }
  return true;
}

void AbandonPrefill(EngineState& state, Task& task) {
  if (state.prefilling != &task) return;
  state.prefill.reset();
  state.prefilling = nullptr;
}

}  // namespace concertina
