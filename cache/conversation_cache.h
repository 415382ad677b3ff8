#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cache/budget.h"
#include "cache/entry_layout.h"
#include "cache/policies/policy.h"
#include "cache/rotate.h"

namespace concertina {

// One conversation's elastic cache as a scheduler sees it: its budget, its pages in the pool and
// its positions, but not its entries, which may lie on another device. What is not said here is as
// SessionCache has it. Owned by the engine thread.
class ConversationCache {
 public:
  virtual ~ConversationCache() = default;

  virtual CacheShape shape() const = 0;
  // Tokens the conversation has had, kept or not.
  virtual int64_t seen() const = 0;
  // Position of the next token.
  virtual int64_t next_position() const = 0;
  // Entries a layer holds per head; during a prefill those from before it.
  virtual int32_t OldEntries(int layer) const = 0;
  virtual int64_t live_entries() const = 0;   // all layers and heads
  virtual int64_t payload_bytes() const = 0;  // of their K and V
  virtual int64_t used_bytes() const = 0;     // of the pages they lie in
  virtual int64_t shared_bytes() const = 0;   // of these, pages in common with forks
  // Bytes of the pages that `tokens` tokens would take if all were kept.
  virtual int64_t FullBytes(int64_t tokens) const = 0;

  virtual const Budget& budget() const = 0;
  virtual absl::Status SetBudget(Budget budget) = 0;
  virtual EffectiveBudget effective_budget() const = 0;
  // Policy::repeats_prompts().
  virtual bool repeats_prompts() const { return false; }
  // False: turns are refolded and nothing is pinned.
  virtual bool follows_turn_rules() const = 0;
  // Entries a budget would grant to every layer and head at least, once `seen` tokens were seen.
  // What is pinned must be within them (FloorWithPins): a budget is raised to it otherwise.
  virtual int64_t EntriesAffordable(const Budget& budget, int64_t seen) const = 0;
  virtual int64_t UsedBytesBound(int64_t more_tokens) const = 0;
  virtual absl::Status Reserve(int64_t bytes) = 0;
  virtual int64_t reserved_bytes() const = 0;

  // False while a prefill has changed some layers only; then Clear() and rebuild.
  virtual bool intact() const = 0;
  virtual void Clear() = 0;
  virtual void BeginDecode() = 0;
  virtual void EndDecode() = 0;
  // UNIMPLEMENTED where RunnerTraits::forks is false.
  virtual absl::StatusOr<std::unique_ptr<ConversationCache>> ForkConversation() = 0;

  virtual OnContextEnd on_context_end() const = 0;
  virtual bool FitsContext(int64_t more_tokens, int64_t max_positions) const = 0;
  virtual absl::Status RebaseFor(int64_t more_tokens, int64_t max_positions,
                                 const RotateFn& rotate) = 0;
};

}  // namespace concertina
