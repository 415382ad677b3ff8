#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/conversation_cache.h"
#include "server/engine/events.h"
#include "server/engine/prompt_builder.h"

namespace concertina {

// A conversation. Owned by the engine thread.
struct EngineSession {
  std::string id;
  std::string policy;
  PolicyOptions policy_options;
  OnContextEnd on_context_end;
  EntryType entry_type;
  TurnFold turn_fold = TurnFold::kRefold;
  std::string system_prompt;
  bool pin_system_prompt = false;
  ImageFold images;
  std::unique_ptr<ConversationCache> cache;
  // What was asked for; the cache follows between two steps (actions/budget.h).
  Budget budget;
  // What a turn's quality took beyond that, until another budget is asked for (actions/probe.h).
  std::optional<Budget> raised_budget;
  QualityOptions quality;

  // Everything that was ever fed to the cache, turn by turn: enough to rebuild it exactly.
  std::vector<Segment> transcript;
  // Delivered, but not yet fed: the next prompt starts with it.
  std::vector<int32_t> unfed;
  // A picture is in the conversation: the low-rank adapter acts from its turn on.
  bool adapter = false;
  // The cache was cleared (a prefill abandoned half-way, an eviction, a truncation) and must be
  // replayed before the next turn.
  bool needs_rebuild = false;

  int32_t turns = 0;
  bool busy = false;
  bool close_when_idle = false;
  std::chrono::system_clock::time_point created;
  std::chrono::system_clock::time_point last_used;
  std::chrono::steady_clock::time_point last_active;  // as last_used, immune to clock changes

  const Budget& budget_in_force() const { return raised_budget ? *raised_budget : budget; }
  int64_t transcript_bytes() const;
  int64_t transcript_tokens() const;
  int32_t repeated_turns() const;  // whose prompts were read a second time
};

CacheSnapshot SnapshotOf(const ConversationCache& cache);
// With the budget as asked for, where it was raised.
CacheSnapshot SnapshotOf(const EngineSession& session);
SessionInfo InfoOf(const EngineSession& session);

}  // namespace concertina
