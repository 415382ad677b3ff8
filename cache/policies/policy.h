#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/merge.h"
#include "cache/turn_rules.h"

namespace concertina {

// What happens to a session that would pass the trained context.
enum class OnContextEnd { kRebase, kRefuse };

struct PolicyOptions {
  MergeMode merge = MergeMode::kMean;  // elastic
  bool pure_sink = false;              // elastic: first and last accept no merges
  // concertina, concertina-hq: deepest layer's share over the first's; 1 is even
  std::optional<double> slope_r;
  bool repeat_when_idle = false;  // concertina-hq: prompts are repeated between turns only
  bool adaptive_heads = false;    // concertina: a layer's heads may differ in how much they keep
};

// All entries of one layer at a fold, in birth order; strides are `capacity` entries per KV head.
struct LayerView {
  int32_t layer = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t entries = 0;  // per head; of the longest where heads differ
  int64_t capacity = 0;
  int64_t seen_after = 0;           // tokens seen once the prompt is in: cnt = seen_after - birth
  const float* k = nullptr;         // [kv_heads][capacity][head_dim], rotated
  const float* v = nullptr;         // [kv_heads][capacity][head_dim]
  const float* score = nullptr;     // [kv_heads][capacity], S
  const uint32_t* birth = nullptr;  // [kv_heads][capacity]
  // [kv_heads]: where a head's entries begin, those before are void; empty: at 0 in all heads.
  std::span<const int32_t> first;
  // Pages must not be more than if heads kept the same, of so many entries each; 0: may be.
  int32_t entries_per_page = 0;
  bool packed = false;                  // entries that stay may take a few bits per element
  std::span<const TokenSpan> pictures;  // all pictures so far, by birth, ascending
  // The first token of every turn so far, ascending, and by what a turn's entries are worth less
  // than the last one's (fading.h); no `fading`: the age of a turn is of no account.
  std::span<const int64_t> turn_starts;
  std::span<const float> fading;

  bool equal() const { return first.empty(); }
  // One head alone, from its first entry on.
  LayerView HeadAlone(int32_t head) const;
  // Scores of all entries; only where heads do not differ.
  std::span<const float> Scores(int32_t head) const {
    return {score + head * capacity, static_cast<size_t>(entries)};
  }
};

// S of every entry, mean over the KV heads.
std::vector<float> MeanScores(const LayerView& layer);

// kept[h]: ascending indices of the entries KV head h keeps. Heads differ in how many only under a
// policy that splits heads.
using Selection = std::vector<std::vector<int32_t>>;

// The order in which a layer's entries are kept: the first `sinks` and the newest `recent` before
// any other (SelectAround), those in between by what they are worth, ties to the lower index. NaN
// is worth nothing.
struct Ranking {
  // [kv_heads][entries], or one for all heads.
  std::vector<std::vector<float>> worth;
  int32_t sinks = 1;
  int32_t recent = 1;
};

// Entries of one head while decoding, by index in birth order. Read on demand: a policy pays for
// what it asks only.
class EntryReader {
 public:
  virtual ~EntryReader() = default;
  virtual uint32_t Birth(int32_t index) const = 0;
  virtual void LoadKey(int32_t index, float* k) const = 0;  // head_dim floats, rotated
};

// One head at a decode step, after the new entry was appended.
struct DecodeView {
  std::span<const float> scores;  // S, in birth order; the last is the entry just appended
  int32_t cap = 0;                // entries the head may keep, >= 2 and < scores.size()
  int32_t anchors_at_fold = 0;    // entries the head had after the last fold
  int32_t layer = 0;
  int32_t head_dim = 0;
  const EntryReader* entries = nullptr;  // as many as scores
  // Of the same entries, ascending, where they are packed; empty: read them.
  std::span<const uint32_t> births;
  // Which may be deleted, ascending, neither the first nor the newest; empty: any between them.
  std::span<const int32_t> may_go;
};

// Decides what a session keeps. Stateless, immutable and thread-safe: every answer is a pure
// function of its arguments, and the session's cache does the storing. Public methods check the
// contract, so that every policy is held to it; a new policy overrides the protected ones and adds
// a line to the registry.
class Policy {
 public:
  virtual ~Policy() = default;

  virtual std::string_view name() const = 0;
  // True: budgets do not make this policy drop anything (a byte budget still refuses what does not
  // fit).
  virtual bool keeps_everything() const { return false; }
  // Whether attention must report column sums and decode the attention paid; if not, S is not kept.
  virtual bool needs_scores() const { return true; }
  // How many of a prompt's last queries S counts; what entries had before the prompt is forgotten.
  // 0: S counts all queries there ever were.
  virtual int32_t score_window() const { return 0; }
  // The next token's position is the number of entries the first layer holds, not of tokens seen.
  // Such a session never moves positions: OnContextEnd::kRebase is refused like kRefuse.
  virtual bool positions_by_length() const { return false; }
  // Deepest layer's share over the first layer's (LayerShares).
  virtual double slope_r() const { return 1.0; }
  // True: the layers' shares follow from how each of them pays attention. The first prompt of which
  // something must go is then read twice: a pass that keeps nothing asks for the Concentration of
  // every layer, and LayerWeights of all of them holds from there on.
  virtual bool measures_layers() const { return false; }
  virtual std::vector<float> Concentration(const LayerView& layer) const;
  // True: heads of a layer keep what is worth most, whichever head it is of (head_shares.h). The
  // policy is then asked for the ranking of one head at a time.
  virtual bool splits_heads() const { return false; }
  // One weight > 0 per layer for a split of `total` entries per KV head. Empty: slope_r().
  virtual std::vector<double> LayerWeights(std::span<const std::vector<float>> concentrations,
                                           int64_t total) const;
  // True: what a prompt is repeated after itself counts half of what its entries are worth
  // (CountRepetition). The repetition is read and not stored. Only with needs_scores().
  virtual bool repeats_prompts() const { return false; }
  virtual OnContextEnd default_on_context_end() const { return OnContextEnd::kRefuse; }

  // False: pins and folds by turns are refused (TurnRules).
  virtual bool follows_turn_rules() const { return true; }

  // Chooses KeptCount(keep) entries of every head, keep x heads of all where heads are split, or
  // fewer where pictures may not keep as many; the first, the newest and what is pinned are always
  // among them. REQUIRES: keep >= rules.floor(), or all there are.
  Selection Select(const LayerView& layer, int32_t keep,
                   const TurnRules& rules = TurnRules()) const;

  // False: kept entries stay as they are, and Merge() says no more than that.
  virtual bool merges() const { return false; }
  // The kept entries' K, V and mass (mass nullptr in `head` is not allowed).
  virtual MergedHead Merge(const HeadEntries& head, std::span<const int32_t> kept) const;

  // Index, in birth order, of the entry to delete: never the first, the newest or a pinned one.
  // REQUIRES: scores.size() >= 3, cap >= rules.floor().
  int32_t Victim(const DecodeView& head, const TurnRules& rules = TurnRules()) const;
  // `count` of them, ascending: each the one of what those before it leave. REQUIRES: as many may
  // go.
  std::vector<int32_t> Victims(const DecodeView& head, int32_t count) const;

 protected:
  // Asked only if something is to go: 2 <= keep < layer.entries.
  virtual Ranking DoRank(const LayerView& layer, int32_t keep) const = 0;
  // With TurnRules or DecodeView::may_go `head` has no more than the entries that may go, framed by
  // the first and the newest.
  virtual int32_t DoVictim(const DecodeView& head) const = 0;
  // DoVictim() of these entries, of those that leaves, and so on; in any order. To be overridden
  // only by what is faster.
  virtual std::vector<int32_t> DoVictims(const DecodeView& head, int32_t count) const;

 private:
  Selection SelectSplit(const LayerView& layer, int32_t keep, const TurnRules& rules) const;
};

// NOT_FOUND for a name not in PolicyNames(), INVALID_ARGUMENT for options out of range.
absl::StatusOr<std::shared_ptr<const Policy>> MakePolicy(std::string_view name,
                                                         const PolicyOptions& options = {});

// Registered names, in the order to list them: the default policy first.
std::span<const std::string_view> PolicyNames();

}  // namespace concertina
