#pragma once

#include <cstdint>

#include "models/bundle/model.h"
#include "models/runner/model_runner.h"
#include "server/engine/engine.h"

namespace concertina {

// The most bytes of scratch memory that an engine with these options comes to, on as many threads
// as the kernels have: one layer of the longest prompt and of one that overtakes it, their pictures
// on the way through the vision tower, what a slice of a prompt or a decode step takes, and
// `feature_bytes` of kept features.
int64_t WorkspaceBound(const Model& model, const ModelRunner& runner, const EngineOptions& options,
                       int64_t feature_bytes);

}  // namespace concertina
