#pragma once

#include <vector>

#include "models/runner/model_runner.h"
#include "server/engine/task.h"

namespace concertina {

// What one decode step is about, kept so that the next one allocates nothing.
struct DecodeLists {
  // In the order of the step's rows.
  std::vector<Task*> tasks;
  std::vector<DecodeRow> rows;
  std::vector<Sampler::Choice> choices;
  // One for each thread, all with the same room: which of them has something to choose is chance.
  std::vector<SamplerScratch> scratch;
};

}  // namespace concertina
