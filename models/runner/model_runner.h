#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cache/budget.h"
#include "cache/conversation_cache.h"
#include "cache/entry_layout.h"
#include "cache/policies/policy.h"
#include "models/runner/prompt_pass.h"

namespace concertina {

// One token of one session in a decode step.
struct DecodeRow {
  ConversationCache* cache;
  int32_t token;
  bool adapter;
  bool wants_logits;
  absl::Status status;            // set by the step: not OK if the token could not be taken in
  int64_t evicted = 0;            // set by the step: entries that went
  const float* logits = nullptr;  // [vocab], set by the step; valid until the next one
};

// What a session's cache is to be. Empty: as the runner has it.
struct CacheSpec {
  std::string policy;
  PolicyOptions policy_options;
  EntryType entry_type = EntryType::kBf16;
  Budget budget;
  std::optional<OnContextEnd> on_context_end;
  TurnFold turn_fold = TurnFold::kRefold;
  ImageFold images;
};

// What a runner can do beyond what every runner can.
struct RunnerTraits {
  std::optional<EntryType> only_entry_type;  // empty: any
  bool byte_budgets = true;
  bool rebases = true;  // past the trained context
  bool forks = true;
  bool turn_rules = true;  // pins, folds by turns, and pictures' own budgets
  bool probes = true;      // MakeProbe
};

// Runs the language model over conversations' caches: where its weights and their entries are,
// nobody else knows. Caches and passes are used with the runner that made them only, and end before
// it. Engine thread only.
class ModelRunner {
 public:
  virtual ~ModelRunner() = default;

  virtual RunnerTraits traits() const = 0;
  // The policy's errors (MakePolicy); FAILED_PRECONDITION for entries of a type that the policy or
  // the model cannot have; UNIMPLEMENTED for one the runner does not know. REQUIRES: a valid
  // budget, and nothing traits() rules out.
  virtual absl::StatusOr<std::unique_ptr<ConversationCache>> MakeCache(const CacheSpec& spec) = 0;

  // x [n, hidden] <- embedding rows.
  virtual absl::Status Embed(std::span<const int32_t> ids, float* x) = 0;
  // `embeddings` [tokens, hidden]: token embeddings with image features in place.
  virtual std::unique_ptr<PromptPass> MakePass(ConversationCache& cache,
                                               std::vector<float> embeddings,
                                               PromptPass::Options options) = 0;
  // A pass that changes nothing: rows read the cache as it is now, with their own token in place if
  // the cache has lost it. Each sees itself and the entries kept of tokens before it, no other row.
  // `embeddings` [rows, hidden] are those of the last tokens the cache has seen, the first of which
  // was at `position`; `adapter` as for a prompt. UNIMPLEMENTED where RunnerTraits::probes is
  // false.
  virtual absl::StatusOr<std::unique_ptr<PromptPass>> MakeProbe(ConversationCache& cache,
                                                                std::vector<float> embeddings,
                                                                int64_t position, bool adapter) = 0;
  // Feeds one token to each of several sessions.
  virtual void Decode(std::span<DecodeRow> rows) = 0;
  // [n, vocab] of the last layer's output x [n, hidden]; valid until the next run method.
  virtual absl::StatusOr<const float*> Logits(const float* x, int64_t n) = 0;

  // Scratch on the host, and the most a pass may take of it while prompt and cache together stay
  // within `positions`.
  virtual int64_t bytes() const = 0;
  virtual int64_t PassBytesBound(int64_t positions) const = 0;
  // Of weights, pages and what lies beside them on an accelerator; 0 without one.
  virtual int64_t device_bytes() const = 0;
};

}  // namespace concertina
