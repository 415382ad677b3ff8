#include "server/engine/actions/decode.h"

#include "models/kernels/parallel.h"
#include "server/engine/actions/budget.h"
#include "server/engine/actions/cache_refusal.h"
#include "server/engine/actions/deliver.h"
#include "server/engine/actions/finish.h"
#include "server/engine/actions/score.h"

namespace concertina {
namespace {

bool FeedsKnownAnswer(const Task& task) {
  return task.answer_fed < task.segments.front().answer.size();
}

DecodeRow RowOf(const EngineState& state, const Task& task) {
  const bool known = FeedsKnownAnswer(task);
  return {.cache = task.session->cache.get(),
          .token = known ? task.segments.front().answer[task.answer_fed] : task.next_token,
          .adapter = task.session->adapter && state.model->adapter,
          .wants_logits = !known || task.kind == Task::Kind::kScore,
          .status = absl::OkStatus()};
}

void AfterKnownToken(EngineState& state, Task& task, const DecodeRow& row) {
  ++task.answer_fed;
  if (task.kind == Task::Kind::kScore) {
    RecordScore(task, std::span(row.logits, state.model->config.vocab));
  }
  const bool rebuilding = task.replayed_segments > 0;
  if (!rebuilding && task.kind != Task::Kind::kScore) {
    task.session->transcript.back().answer.push_back(row.token);
  }
  if (FeedsKnownAnswer(task)) return;
  task.session->cache->EndDecode();
  NextSegment(state, task);
}

// Memory for many tokens at a time, so that a step seldom allocates any.
void AppendToAnswer(Task& task, int32_t token) {
  constexpr size_t kAhead = 1024;
  std::vector<int32_t>& answer = task.session->transcript.back().answer;
  if (answer.size() == answer.capacity()) answer.reserve(answer.size() + kAhead);
  answer.push_back(token);
}

void AfterSampledToken(EngineState& state, Task& task, const DecodeRow& row,
                       const Sampler::Choice& choice) {
  AppendToAnswer(task, row.token);
  task.next_token = -1;
  DeliverToken(state, task, choice);
}

bool IsSampled(const Task& task, const DecodeRow& row) {
  return row.status.ok() && !FeedsKnownAnswer(task);
}

void ListRows(EngineState& state) {
  DecodeLists& lists = state.decode_lists;
  lists.tasks.clear();
  lists.rows.clear();
  for (const auto& task : state.running) {
    if (task->phase != Task::Phase::kDecode) continue;
    UseBudgetForToken(*task);
    lists.tasks.push_back(task.get());
    lists.rows.push_back(RowOf(state, *task));
  }
}

// Every turn has a random stream of its own, so the order is of no account.
void ChooseTokens(EngineState& state) {
  DecodeLists& lists = state.decode_lists;
  lists.choices.resize(lists.rows.size());
  ReserveScratch(state);
  ParallelTasks(static_cast<int64_t>(lists.rows.size()), [&](int worker, int64_t i) {
    if (!IsSampled(*lists.tasks[i], lists.rows[i])) return;
    lists.choices[i] =
        ChooseToken(state, *lists.tasks[i], lists.rows[i].logits, &lists.scratch[worker]);
  });
}

}  // namespace

bool RunDecodeStep(EngineState& state) {
  ListRows(state);
  DecodeLists& lists = state.decode_lists;
  if (lists.rows.empty()) return false;
  state.runner->Decode(lists.rows);
  state.observer->OnBatch(static_cast<int64_t>(lists.rows.size()));
  ChooseTokens(state);
  for (size_t i = 0; i < lists.rows.size(); ++i) {
    Task& task = *lists.tasks[i];
    const DecodeRow& row = lists.rows[i];
    if (row.evicted > 0) state.observer->OnDecodeEviction(task.session->policy, row.evicted);
    if (!row.status.ok()) {
      EndTask(state, task, CacheRefusal(row.status));
    } else if (FeedsKnownAnswer(task)) {
      AfterKnownToken(state, task, row);
    } else {
      AfterSampledToken(state, task, row, lists.choices[i]);
    }
  }
  return true;
}

}  // namespace concertina
