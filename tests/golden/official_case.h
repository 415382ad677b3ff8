#pragma once

#include <nlohmann/json.hpp>

#include "tests/golden/folder.h"
#include "tests/golden/report.h"

namespace concertina::testing {

// A case of kind `official`: what policy `official` selects, merges and deletes, layer by layer,
// against the code published with the paper.
void CheckOfficial(const nlohmann::json& info, GoldenFolder* folder, Report* report);

}  // namespace concertina::testing
