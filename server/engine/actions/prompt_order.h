#pragma once

#include "server/engine/engine_state.h"

namespace concertina {

// The prompt to go on with, or null. First come, first served, but a short prompt may overtake: it
// runs at once, and to its end, while the long one keeps what it has. At most two prompts are alive
// (state.prompts); what overtakes one prompt comes to no more work than it has done itself and a
// quarter of the whole, so that it ends within 2.25 times its own work whatever else arrives.
Task* NextPrompt(EngineState& state);

// Makes the task's prompt the one that goes on.
void BeginPrompt(EngineState& state, Task& task);

// Notes work done on a prompt alive, in multiply-adds.
void CountWork(EngineState& state, Task& task, double macs);

// The most positions, entries and prompt together, of a prompt that overtakes: the second
// workspace is this much smaller than the first.
int64_t OvertakerPositions(const LanguageConfig& config);

}  // namespace concertina
