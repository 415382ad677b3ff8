#pragma once

#include "server/engine/actions/prefill.h"
#include "server/engine/engine_state.h"

namespace concertina {

// How much a turn's fold changes what the model says: the last tokens of the prompt are read once
// more, with the folded cache, and what follows each is compared with what followed in the prompt's
// own pass. Nothing is stored. The comparison is with the cache as this turn found it: what earlier
// folds took is missing on both sides.
//
// When fewer tokens agree than the session's floor asks for, the cache is put back to how it was
// before the prompt and the prompt is read again with a larger budget: twice, four and eight times
// as large, then with room for everything. The budget stays raised for the rest of the session. A
// budget in bytes is never raised, none is when the pool has no room, and then the floor is missed.

// The segment in work is what the turn itself brought, not a rebuild or a replay.
bool IsTurnsOwnPrompt(const Task& task);

// Before the prompt's positions are settled: keeps what the probe will need. Does nothing where
// there is to be none.
void PrepareProbe(EngineState& state, Task& task);

// The prompt is through and folded: begins to read its last tokens again.
absl::Status StartProbe(EngineState& state, Task& task);

// A slice of that, or of the comparison; at the end settles the prompt, or has it read again.
// False when no slice fits.
absl::StatusOr<bool> RunProbeSlice(EngineState& state, Task& task, const SliceLimit& limit);

}  // namespace concertina
