#include "server/engine/scheduler.h"

#include <algorithm>

#include "server/engine/actions/admit.h"
#include "server/engine/actions/decode.h"
#include "server/engine/actions/expire.h"
#include "server/engine/actions/finish.h"
#include "server/engine/actions/prefill.h"
#include "server/engine/actions/refine.h"

namespace concertina {
namespace {

void EndCancelled(EngineState& state) {
  const auto end = [&](auto& tasks) {
    for (const auto& task : tasks) {
      if (task->phase != Task::Phase::kDone && task->control->cancelled.load()) {
        EndTask(state, *task, task->control->status);
      }
    }
  };
  end(state.waiting);
  end(state.running);
}

}  // namespace

bool RunStep(EngineState& state) {
  EndCancelled(state);
  SweepTasks(state);
  ExpireIdleSessions(state);
  if (!state.waiting.empty() || state.draining) GiveUpRefining(state);
  AdmitWaiting(state);
  const bool prefilled = RunPrefill(state);
  const auto begin = state.Now();
  const bool decoded = RunDecodeStep(state);
  if (decoded) state.pace.OnDecode(begin, state.Now());
  SweepTasks(state);
  if (decoded || prefilled || !state.waiting.empty()) return true;
  return state.running.empty() && StartRefining(state);
}

EngineGauges GaugesOf(const EngineState& state) {
  EngineGauges gauges{.requests_running = std::count_if(
                          state.running.begin(), state.running.end(),
                          [](const auto& task) { return task->kind != Task::Kind::kRefine; }),
                      .requests_waiting = static_cast<int64_t>(state.waiting.size()),
                      .sessions_active = static_cast<int64_t>(state.sessions.size()),
                      .draining = state.draining,
                      .pool_used_bytes = state.pool->used_bytes(),
                      .pool_reserved_bytes = state.pool->reserved_bytes(),
                      .pool_capacity_bytes = state.pool->capacity_bytes(),
                      .workspace_bytes = state.runner->bytes() + state.features.bytes(),
                      .device_bytes = state.runner->device_bytes()};
  for (const Task* task : state.prompts) gauges.workspace_bytes += task->prompt->bytes();
  for (const auto& [id, session] : state.sessions) {
    gauges.sessions_busy += session->busy ? 1 : 0;
    gauges.sessions_evicted += session->needs_rebuild ? 1 : 0;
    gauges.transcript_bytes += session->transcript_bytes();
  }
  return gauges;
}

}  // namespace concertina
