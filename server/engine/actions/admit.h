#pragma once

#include "server/engine/engine_state.h"

namespace concertina {

// Takes up waiting tasks in order while the batch has room: makes their prompt, checks the context,
// and reserves the bytes their cache may reach. What can never fit, or does not fit now, is refused
// with its reason.
void AdmitWaiting(EngineState& state);

}  // namespace concertina
