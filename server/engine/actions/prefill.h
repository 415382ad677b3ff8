#pragma once

#include "server/engine/engine_state.h"

namespace concertina {

// Computes slices of one prompt (NextPrompt), as many as the pace between two decode steps allows
// and each short enough to fit: pictures first, then layer by layer. False if no prompt is there.
bool RunPrefill(EngineState& state);

// How long the next slice of a prompt may take. The first of a step is computed even if it takes
// longer, but then no larger than it must be.
struct SliceLimit {
  SliceCost::Nanoseconds time;
  bool first;
};

// Rows of the next slice, of at most `most`, in multiples of `unit`; 0: it must wait for the next
// step.
int64_t SliceRows(const SliceCost& cost, const SliceLimit& limit, int64_t unit, int64_t most,
                  absl::FunctionRef<SliceCost::Shares(int64_t rows)> shares_of);

// A slice of the layer the task's prompt is at. True when the prompt is through, false when it is
// not; empty when no slice fits.
absl::StatusOr<std::optional<bool>> RunLayerSlice(EngineState& state, Task& task,
                                                  const SliceLimit& limit);

}  // namespace concertina
