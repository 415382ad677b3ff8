#pragma once

#include "absl/status/status.h"
#include "server/engine/engine_state.h"

namespace concertina {

// The one way a task ends. Afterwards its phase is kDone, its session is idle (and closed, if that
// was asked for meanwhile), its reservation is down to what the session holds, and its owner has
// been told.

// The answer is complete.
void CompleteTurn(EngineState& state, Task& task, FinishReason reason);

// Not taken up at all.
void RefuseTask(EngineState& state, Task& task, const absl::Status& status);

// Any other end: cancelled, deadline, failure; OK for replays and scores that are through.
// What was delivered stays in the conversation; an abandoned prefill is dropped from it.
void EndTask(EngineState& state, Task& task, const absl::Status& status);

// The front segment is through: goes on to the next, or ends a replay.
void NextSegment(EngineState& state, Task& task);

// Removes the tasks that are done.
void SweepTasks(EngineState& state);

}  // namespace concertina
