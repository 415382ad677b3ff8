#include "server/engine/actions/pins.h"

#include "absl/strings/str_cat.h"
#include "server/engine/errors.h"

namespace concertina {
namespace {

// A conversation up to some token.
struct Said {
  int64_t tokens = 0;
  int64_t pinned = 0;
  bool first_pinned = false;

  void AddPrompt(const Segment& segment) {
    for (const TokenSpan& pin : segment.pins) {
      first_pinned = first_pinned || tokens + pin.first == 0;
      pinned += pin.count;
    }
    tokens += static_cast<int64_t>(segment.prompt.size());
  }
};

absl::Status Check(const ConversationCache& cache, const Said& said, const Budget& budget) {
  if (said.pinned == 0) return absl::OkStatus();
  const int64_t needed = FloorWithPins(said.pinned, said.first_pinned);
  const int64_t granted = cache.EntriesAffordable(budget, said.tokens);
  if (needed <= granted) return absl::OkStatus();
  return ReasonError(absl::StatusCode::kFailedPrecondition, reason::kPinsExceedBudget,
                     absl::StrCat(said.pinned, " pinned tokens need ", needed,
                                  " entries per layer and head, the budget grants ", granted));
}

// Segments of the task that are in the transcript already.
size_t Recorded(const EngineSession& session, const Task& task) {
  if (task.replayed_segments > 0) return task.replayed_segments;
  return task.phase == Task::Phase::kDecode && !session.transcript.empty() ? 1 : 0;
}

}  // namespace

absl::Status CheckMayPin(const EngineState& state, const EngineSession& session,
                         std::string_view field) {
  if (session.cache->follows_turn_rules()) return absl::OkStatus();
  if (!state.runner->traits().turn_rules) {
    return FieldError(field, reason::kNotOnDevice, "nothing is pinned on the device");
  }
  return FieldError(field, absl::StrCat("policy ", session.policy, " pins nothing"));
}

absl::Status CheckPins(const EngineSession& session, const Task* task, const Budget& budget,
                       std::optional<int32_t> turns) {
  Said said;
  const size_t left = turns ? static_cast<size_t>(*turns) : session.transcript.size();
  for (size_t i = 0; i < left; ++i) {
    said.AddPrompt(session.transcript[i]);
    said.tokens += static_cast<int64_t>(session.transcript[i].answer.size());
  }
  absl::Status status = Check(*session.cache, said, budget);
  if (!task) return status;
  for (size_t i = Recorded(session, *task); i < task->segments.size(); ++i) {
    said.AddPrompt(task->segments[i]);
    status.Update(Check(*session.cache, said, budget));
    said.tokens += static_cast<int64_t>(task->segments[i].answer.size());
  }
  return status;
}

}  // namespace concertina
