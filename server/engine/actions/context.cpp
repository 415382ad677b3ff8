#include "server/engine/actions/context.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "server/engine/errors.h"

namespace concertina {
namespace {

absl::Status ContextExhausted(int64_t needed, int64_t left) {
  return ReasonError(absl::StatusCode::kFailedPrecondition, reason::kContextExhausted,
                     absl::StrCat("the turn needs ", needed, " positions, the trained context has ",
                                  std::max<int64_t>(left, 0), " left"));
}

// Positions the task's own tokens need from where the check begins: a session that refuses counts
// everything up to the end, one that rebases only its longest segment.
int64_t NeededBy(const Task& task, bool refuses) {
  int64_t sum = 0, longest = 0;
  for (const Segment& segment : task.segments) {
    sum += segment.tokens();
    longest = std::max(longest, segment.tokens());
  }
  const auto scored = static_cast<int64_t>(task.continuation.size());
  return (refuses ? sum : longest) + scored;
}

}  // namespace

absl::Status MakeRoom(EngineState& state, ConversationCache& cache, int64_t room) {
  const LanguageConfig& config = state.model->config;
  const int64_t max_positions = config.max_positions;
  if (cache.FitsContext(room, max_positions)) return absl::OkStatus();
  const auto rotate = [&](float* key, int64_t delta) {
    const auto distance = static_cast<int32_t>(std::llabs(delta));
    state.model->language->rope().Rotate(key, 1, 1, config.head_dim, &distance,
                                         delta < 0 ? -1.0f : 1.0f);
  };
  absl::Status status = cache.RebaseFor(room, max_positions, rotate);
  if (status.ok()) return status;
  return ContextExhausted(room, max_positions - cache.next_position());
}

absl::Status CheckContext(const EngineState& state, Task& task) {
  const int64_t max_positions = state.model->config.max_positions;
  for (const Segment& segment : task.segments) {
    if (static_cast<int64_t>(segment.prompt.size()) < max_positions) continue;
    return FieldError(task.kind == Task::Kind::kScore ? "prompt" : "parts", reason::kPromptTooLong,
                      absl::StrCat("the prompt has ", segment.prompt.size(),
                                   " tokens; the model was trained for ", max_positions));
  }
  const ConversationCache& cache = *task.session->cache;
  const bool refuses = cache.on_context_end() == OnContextEnd::kRefuse;
  const int64_t needed = NeededBy(task, refuses);
  const int64_t left = max_positions - needed - (refuses ? cache.next_position() : 0);
  if (left < 0) return ContextExhausted(needed, left + needed);
  if (task.kind != Task::Kind::kTurn) return absl::OkStatus();
  const bool asked = task.params.max_tokens > 0;
  const int64_t wanted = asked ? task.params.max_tokens : state.options.max_tokens_default;
  if (left < 1 || (asked && wanted > left)) return ContextExhausted(needed + wanted, left + needed);
  task.max_tokens = static_cast<int32_t>(std::min(wanted, left));
  return absl::OkStatus();
}

}  // namespace concertina
