#pragma once

#include <string>
#include <vector>

#include "client/eval/summary.h"

namespace concertina::eval {

struct Plot {
  std::string file;  // name without folder: "perplexity-ratio.svg", "answers-same-where.svg"
  std::string svg;
};

// Quality against payload, a line for every policy and entry type: for each measure and group the
// metrics that say how good it is. Settings without payload, such as failed ones, are left out; so
// are plots without lines.
std::vector<Plot> MakePlots(const std::vector<Row>& rows);

}  // namespace concertina::eval
