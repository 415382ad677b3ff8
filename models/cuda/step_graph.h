#pragma once

#include <memory>

#include "models/tensor/device_kernels.h"

namespace concertina {

// Replays decode steps as CUDA graphs: hundreds of small kernels a step then cost one launch.
// The first step of a generation runs as it is, which lets libraries allocate what they keep; the
// second is captured; further ones are replayed.
std::unique_ptr<StepRunner> MakeStepGraph();

}  // namespace concertina
