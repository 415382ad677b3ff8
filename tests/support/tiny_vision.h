#pragma once

#include <string>

#include "models/vision/vision_config.h"
#include "tests/support/memory_source.h"

namespace concertina::testing {

// A random CLIP tower under `tower` ("vision_tower.vision_model.") and a projector to `output`
// columns under `projector`. The picture's side is no multiple of the patch's.
VisionConfig TinyVisionConfig();
MemorySource TinyVision(const VisionConfig& config, int64_t output,
                        const std::string& tower = "vision_tower.vision_model.",
                        const std::string& projector = "multi_modal_projector.");

}  // namespace concertina::testing
