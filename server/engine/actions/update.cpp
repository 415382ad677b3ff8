#include "server/engine/actions/update.h"

#include "absl/strings/str_cat.h"
#include "server/engine/actions/budget.h"
#include "server/engine/actions/sessions.h"
#include "server/engine/errors.h"

namespace concertina {
namespace {

absl::Status CheckTruncation(EngineState& state, const EngineSession& session, int32_t turn) {
  if (auto idle = FindIdleSession(state, session.id); !idle.ok()) return idle.status();
  if (turn < 0 || turn > session.turns) {
    return FieldError("truncate_turn",
                      absl::StrCat("must be 0 to ", session.turns, ", the finished turns"));
  }
  return absl::OkStatus();
}

// Back to the end of `turn`. What the entries of later turns had done to the cache cannot be taken
// back: the rest is computed again when the next turn begins.
void Truncate(EngineSession& session, int32_t turn) {
  if (turn == session.turns) return;
  const Segment& next = session.transcript[turn];
  session.unfed.assign(next.prompt.begin(), next.prompt.begin() + next.carried);
  session.transcript.resize(turn);
  session.turns = turn;
  session.adapter = false;
  session.cache->Clear();
  session.needs_rebuild = turn > 0;
}

}  // namespace

absl::StatusOr<EngineSession*> UpdateSession(EngineState& state, const std::string& id,
                                             const SessionChanges& changes) {
  auto session = FindSession(state, id);
  if (!session.ok()) return session;
  if (changes.truncate_turn) {
    absl::Status status = CheckTruncation(state, **session, *changes.truncate_turn);
    if (!status.ok()) return status;
  }
  if (changes.budget) {
    absl::Status status = ChangeBudget(state, **session, *changes.budget, changes.truncate_turn);
    if (!status.ok()) return status;
  }
  if (changes.truncate_turn) Truncate(**session, *changes.truncate_turn);
  return session;
}

}  // namespace concertina
