#pragma once

#include "absl/status/statusor.h"
#include "concertina/v1/inference_service.pb.h"
#include "server/engine/engine.h"
#include "server/rpc/parse/parts.h"

namespace concertina {

// Checks everything, then decodes the history's pictures.
absl::StatusOr<OpenSessionParams> ParseOpenSession(const v1::OpenSessionRequest& request,
                                                   const RpcLimits& limits,
                                                   const EngineOptions& options,
                                                   ImageResolver& images);

}  // namespace concertina
