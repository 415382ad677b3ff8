#pragma once

#include "concertina/v1/inference_service.pb.h"
#include "server/engine/events.h"

namespace concertina {

v1::GenerateResponse Render(const TurnEvent& event);
v1::GenerateResponse Render(const DeltaEvent& delta);

// True, with `last` replaced, where both are progress: only the newer counts.
bool ReplaceProgress(v1::GenerateResponse& next, v1::GenerateResponse* last);

}  // namespace concertina
