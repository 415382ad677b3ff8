#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/prompt_file.h"
#include "concertina/v1/inference_service.pb.h"

namespace concertina::cli {

// One prompt, replayed. NLLs are means over the answer from its second token on, in nats; agreement
// is the share of those places where the likeliest token equals the full cache's.
struct PromptScore {
  std::string task;
  int64_t index = 0;
  double nll = 0;
  double full_nll = 0;  // the file's; or measured, if the file has none or so asked
  double full_nll_measured = 0;
  double agreement = 0;
};

// Prompts weigh equally.
struct TaskScore {
  double ppl = 0;    // exp(mean nll)
  double ratio = 0;  // exp(mean (nll - full_nll))
  double agreement = 0;
  int prompts = 0;
};

struct ReplayScores {
  std::vector<PromptScore> prompts;
  std::map<std::string, TaskScore> tasks;
  TaskScore all;
};

struct ReplayOptions {
  v1::CachePolicy policy;
  v1::Budget budget;  // not set: the server's
  v1::ScoreFold fold = v1::SCORE_FOLD_PREFILL_ONLY;
  bool measure_full = false;  // also where the file says the full cache's NLL
};

using ScoreCall = std::function<absl::StatusOr<v1::ScoreResponse>(const v1::ScoreRequest&)>;

// Replays every prompt through `score`, each also with policy "full"; `on_prompt` is told after
// each. Fails with the first error.
absl::StatusOr<ReplayScores> Replay(const ReplayFile& file, const ReplayOptions& options,
                                    const ScoreCall& score,
                                    const std::function<void(const PromptScore&)>& on_prompt);

// Means over prompts. REQUIRES: not empty.
TaskScore Summarise(const std::vector<PromptScore>& prompts);

}  // namespace concertina::cli
