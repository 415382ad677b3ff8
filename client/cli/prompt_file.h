#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace concertina::cli {

// One prompt of a replay. The answer's first token is given to the model; the rest is scored.
struct ReplayPrompt {
  std::string task;
  int64_t index = 0;
  std::vector<int32_t> prompt;
  std::vector<int32_t> answer;     // at least two
  std::optional<double> full_nll;  // nats per token with the full cache
};

struct ReplayFile {
  std::vector<ReplayPrompt> prompts;  // in the file's order
  int skipped = 0;                    // without an answer, or with one too short to be scored
};

// A JSON list of {task, i, prompt: ids, ans: ids or null, full_nll: number or null};
// other members are ignored. INVALID_ARGUMENT names the offending element.
absl::StatusOr<ReplayFile> ParseReplayFile(std::string_view json);

}  // namespace concertina::cli
