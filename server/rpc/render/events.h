#pragma once

#include "concertina/v1/inference_service.pb.h"
#include "server/engine/events.h"

namespace concertina {

v1::GenerateResponse Render(const TurnEvent& event);

// Puts `next` behind `last` without adding a message: text joins text, newer progress replaces
// older. False if they cannot be joined; `last` is then unchanged.
bool Coalesce(v1::GenerateResponse& next, v1::GenerateResponse* last);

}  // namespace concertina
