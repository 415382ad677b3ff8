#pragma once

#include <vector>

#include "models/runner/model_runner.h"
#include "server/engine/task.h"

namespace concertina {

// What one decode step is about, in the order of its rows; kept so that the next one allocates
// nothing.
struct DecodeLists {
  std::vector<Task*> tasks;
  std::vector<DecodeRow> rows;
  std::vector<Sampler::Choice> choices;
};

}  // namespace concertina
