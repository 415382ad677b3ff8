#pragma once

#include "absl/status/statusor.h"
#include "concertina/v1/inference_service.pb.h"
#include "server/engine/engine.h"

namespace concertina {

// Tokenises texts, checks ids. A prompt given as text gets the tokenizer's BOS where it has one;
// the continuation is encoded as text that follows.
absl::StatusOr<ScoreParams> ParseScore(const v1::ScoreRequest& request,
                                       const EngineOptions& options, const Model& model);

}  // namespace concertina
