#pragma once

#include "server/engine/actions/prefill.h"

namespace concertina {

// A slice of the vision tower for the prompt's next picture, or at once its features from the
// cache. Puts complete features in their place among the embeddings. False when no slice fits.
bool RunPictureSlice(EngineState& state, Task& task, const SliceLimit& limit);

}  // namespace concertina
