#pragma once

#include "server/engine/engine_state.h"

namespace concertina {

// Sessions that repeat their prompts between turns (PolicyOptions::repeat_when_idle): such a turn
// is folded without the repetition, so that nobody waits for it. When the engine has nothing else
// to do, the conversation is computed anew from its transcript, prompts with their repetitions and
// answers as they were given, under the budgets they had, and the new cache takes the old one's
// place. The transcript remembers it, so that rebuilds and forks have the same.
//
// It is work of the lowest rank: anything that waits for the engine ends it at once, and it is
// begun again when there is time. It takes no room from anybody.

// A prompt's second reading comes before its answer.
bool RepeatsAtOnce(const Task& task);

// Begins to compute one idle session anew. False if none lacks it or the pool has no room.
bool StartRefining(EngineState& state);

// Gives up what was begun, if anything was, and its room.
void GiveUpRefining(EngineState& state);

}  // namespace concertina
