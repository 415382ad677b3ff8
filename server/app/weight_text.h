#pragma once

#include <string>
#include <vector>

#include "models/bundle/model.h"

namespace concertina {

// Lines for the log: what was measured, and which copies of the weights are held.
std::vector<std::string> DescribeWeights(const Model& model);

}  // namespace concertina
