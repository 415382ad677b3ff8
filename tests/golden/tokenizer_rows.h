#pragma once

#include <string>

#include "models/tokenizer/tokenizer.h"
#include "tests/golden/report.h"

namespace concertina::testing {

// Every row of the folder's tokenizer_golden.json, if it has one: ids with and without the special
// tokens that open a prompt, and both decoded texts.
void CheckTokenizerRows(const std::string& folder, const Tokenizer& tokenizer, Report* report);

}  // namespace concertina::testing
