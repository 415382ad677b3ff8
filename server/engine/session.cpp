#include "server/engine/session.h"

#include <algorithm>

namespace concertina {

int64_t EngineSession::transcript_bytes() const {
  size_t bytes = unfed.size() * sizeof(int32_t);
  for (const Segment& segment : transcript) {
    bytes += (segment.prompt.size() + segment.answer.size()) * sizeof(int32_t);
    bytes += segment.pins.size() * sizeof(TokenSpan);
    for (const auto& image : segment.images) bytes += image->pixels.size() * sizeof(float);
  }
  return static_cast<int64_t>(bytes);
}

int64_t EngineSession::transcript_tokens() const {
  int64_t tokens = 0;
  for (const Segment& segment : transcript) tokens += segment.tokens();
  return tokens;
}

int32_t EngineSession::repeated_turns() const {
  return static_cast<int32_t>(std::count_if(transcript.begin(), transcript.end(),
                                            [](const Segment& turn) { return turn.repeated; }));
}

CacheSnapshot SnapshotOf(const ConversationCache& cache) {
  const EffectiveBudget effective = cache.effective_budget();
  return {.budget = cache.budget(),
          .budget_entries = effective.entries_total,
          .raised_to_floor = effective.raised_to_floor,
          .used_bytes = cache.used_bytes(),
          .payload_bytes = cache.payload_bytes(),
          .live_entries = cache.live_entries(),
          .tokens_seen = cache.seen(),
          .full_bytes = cache.FullBytes(cache.seen()),
          .next_position = cache.next_position(),
          .shared_bytes = cache.shared_bytes()};
}

CacheSnapshot SnapshotOf(const EngineSession& session) {
  CacheSnapshot snapshot = SnapshotOf(*session.cache);
  if (session.raised_budget) snapshot.budget = session.budget;
  return snapshot;
}

SessionInfo InfoOf(const EngineSession& session) {
  CacheSnapshot cache = SnapshotOf(*session.cache);
  cache.budget = session.budget;
  if (session.needs_rebuild) {  // the cache was given up, not the conversation
    cache.tokens_seen = session.transcript_tokens();
    cache.full_bytes = session.cache->FullBytes(cache.tokens_seen);
  }
  return {.session_id = session.id,
          .busy = session.busy,
          .turns = session.turns,
          .policy = session.policy,
          .policy_options = session.policy_options,
          .on_context_end = session.on_context_end,
          .entry_type = session.entry_type,
          .turn_fold = session.turn_fold,
          .pin_system_prompt = session.pin_system_prompt,
          .images = session.images,
          .quality = session.quality,
          .repeated_turns = session.repeated_turns(),
          .cache = cache,
          .created = session.created,
          .last_used = session.last_used,
          .evicted = session.needs_rebuild && !session.busy,
          .transcript_bytes = session.transcript_bytes()};
}

}  // namespace concertina
