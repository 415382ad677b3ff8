#pragma once

#include <memory>

#include "server/engine/engine_state.h"

namespace concertina {

// From a request to a task in the queue; engine thread, except for MakeTurn. What is refused at
// once is answered at once.

std::unique_ptr<Task> MakeTurn(GenerateParams params, std::shared_ptr<TurnSink> sink);
void StartTurn(EngineState& state, std::unique_ptr<Task> task);

// Opens the session; replays its history, if any, before `done`.
void StartOpening(EngineState& state, const OpenSessionParams& params,
                  const Engine::Done<SessionInfo>& done, std::shared_ptr<Task::Control> control);

void StartScore(EngineState& state, const ScoreParams& params,
                const Engine::Done<ScoreResult>& done, std::shared_ptr<Task::Control> control);

// Takes nothing up from now on and refuses what waits.
void StartDraining(EngineState& state);

}  // namespace concertina
