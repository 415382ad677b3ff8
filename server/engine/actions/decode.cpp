#include "server/engine/actions/decode.h"

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
    RecordScore(task, std::span(row.logits, state.model->language->config().vocab));
  }
  const bool rebuilding = task.replayed_segments > 0;
  if (!rebuilding && task.kind != Task::Kind::kScore) {
    task.session->transcript.back().answer.push_back(row.token);
  }
  if (FeedsKnownAnswer(task)) return;
  task.session->cache->EndDecode();
  NextSegment(state, task);
}

void AfterSampledToken(EngineState& state, Task& task, const DecodeRow& row) {
  task.session->transcript.back().answer.push_back(row.token);
  task.next_token = -1;
  DeliverToken(state, task, row.logits);
}

}  // namespace

bool RunDecodeStep(EngineState& state) {
  std::vector<Task*> tasks;
  std::vector<DecodeRow> rows;
  for (const auto& task : state.running) {
    if (task->phase != Task::Phase::kDecode) continue;
    UseBudgetForToken(*task);
    tasks.push_back(task.get());
    rows.push_back(RowOf(state, *task));
  }
  if (rows.empty()) return false;
  state.decode_batch.Run(rows);
  state.observer->OnBatch(static_cast<int64_t>(rows.size()));
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].evicted > 0) {
      state.observer->OnDecodeEviction(tasks[i]->session->policy, rows[i].evicted);
    }
    if (!rows[i].status.ok()) {
      EndTask(state, *tasks[i], CacheRefusal(rows[i].status));
    } else if (FeedsKnownAnswer(*tasks[i])) {
      AfterKnownToken(state, *tasks[i], rows[i]);
    } else {
      AfterSampledToken(state, *tasks[i], rows[i]);
    }
  }
  return true;
}

}  // namespace concertina
