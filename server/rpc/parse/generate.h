#pragma once

#include "absl/status/statusor.h"
#include "concertina/v1/inference_service.pb.h"
#include "server/engine/engine.h"
#include "server/rpc/parse/parts.h"

namespace concertina {

absl::StatusOr<SamplingParams> ParseSampling(const v1::Sampling& sampling);

// Checks everything, then decodes the pictures and takes the time of that. `arrival` is left to the
// caller.
absl::StatusOr<GenerateParams> ParseGenerate(const v1::GenerateRequest& request,
                                             const RpcLimits& limits, const EngineOptions& options,
                                             ImageResolver& images);

}  // namespace concertina
