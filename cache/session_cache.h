#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cache/budget.h"
#include "cache/conversation_cache.h"
#include "cache/entry_layout.h"
#include "cache/fold_report.h"
#include "cache/head_cache.h"
#include "cache/layer_prompt.h"
#include "cache/page_account.h"
#include "cache/policies/policy.h"
#include "cache/position_map.h"
#include "cache/precision/packing.h"
#include "cache/rotate.h"
#include "cache/run_tasks.h"
#include "cache/turn_rules.h"

namespace concertina {

// One conversation's elastic cache: K and V of every layer and KV head, held at the session's
// budget.
//
// A turn, as the engine drives it:
//   RebaseFor(tokens)                                 only when the context would not fit
//   BeginPrefill(tokens)
//   while measuring(): for every layer, in order: LoadLayer, [attention], MeasureLayer
//   for every layer, in order: LoadLayer, [attention], FoldLayer
//   CommitPrefill
//   BeginDecode
//   for every token: for every layer { AppendToken, [attention adds to LiveScores], EvictLayer },
//   CommitToken EndDecode
// After CommitPrefill, and after every CommitToken, each layer is within its share and the session
// within its budget. Positions are absolute: see next_position().
//
// A fork holds the same pages as its parent. Neither sees the other change: what one of them
// writes to, it copies first, and what it gives up, the other keeps. The policies that drop entries
// write a layer anew at every fold; one that only appends (`full`) keeps its pages in common, but
// for the last, partly filled one of each head.
//
// Owned by the engine thread; the pool must outlive it. Calls out of order are answered
// FAILED_PRECONDITION where a status is returned and end the process where not.
class SessionCache final : public ConversationCache {
 public:
  // REQUIRES: ValidateBudget(budget).ok(), the shape positive, the pool's pages at least one entry
  // large; another turn fold than kRefold, and pins, only if the policy follows turn rules; an
  // image fold only if HoldsPictures(), and with `rotate` where it merges.
  SessionCache(PagePool* pool, CacheShape shape, EntryType type,
               std::shared_ptr<const Policy> policy, Budget budget, OnContextEnd on_context_end,
               TurnFold turn_fold = TurnFold::kRefold, ImageFold images = {}, RotateFn rotate = {});
  ~SessionCache() override;  // gives every page and the reservation back
  SessionCache(const SessionCache&) = delete;
  SessionCache& operator=(const SessionCache&) = delete;

  // A second conversation that goes on from here: the same entries, positions, policy and budget,
  // and no reservation. Takes no page. Either may be destroyed first. A reservation this cache has
  // stays whole and the pages are promised on top of it: RESOURCE_EXHAUSTED when the pool cannot,
  // which without a reservation never happens. FAILED_PRECONDITION when not intact or decoding. A
  // prefill that has not folded a layer goes on as if nothing had happened; the fork is without it.
  absl::StatusOr<std::unique_ptr<SessionCache>> Fork();
  absl::StatusOr<std::unique_ptr<ConversationCache>> ForkConversation() override { return Fork(); }

  const Policy& policy() const { return *policy_; }
  const EntryLayout& layout() const { return layout_; }
  // As given; layout() is that of the rows.
  EntryType entry_type() const { return type_; }
  CacheShape shape() const override { return shape_; }

  // Tokens the conversation has had, kept or not.
  int64_t seen() const override { return seen_; }
  // Position of the next token: seen() until a rebase, unless the policy counts entries. Later
  // tokens of a prompt follow one by one.
  int64_t next_position() const override {
    return policy_->positions_by_length() ? EntriesIn(0, 0) : positions_.Of(seen_);
  }

  int32_t EntriesIn(int layer, int head) const { return Head(layer, head).entries(); }
  int64_t live_entries() const override;  // all layers and heads
  // Bytes of the pages its entries lie in, pages in common with forks included: byte budgets are
  // held against it.
  int64_t used_bytes() const override { return account_.used_bytes(); }
  // Of these, pages in the pool's shared ledger: in common with forks, or left over from forks that
  // ended since the last Reserve(). PagePool::used_bytes() is the sum over sessions of used_bytes()
  // - shared_bytes(), plus PagePool::shared_bytes().
  int64_t shared_bytes() const override { return account_.shared_bytes(); }
  int64_t payload_bytes() const override;  // whole groups
  int64_t FullBytes(int64_t tokens) const override {
    return int64_t{shape_.layers} * shape_.kv_heads * layout_.PagesFor(tokens) *
           layout_.page_bytes();
  }
  // Original tokens the live entries stand for, summed over layers and heads.
  int64_t mass_represented() const;

  // --- budget and reservation ---
  const Budget& budget() const override { return budget_; }
  // INVALID_ARGUMENT, with nothing changed, for a budget that is not valid. Applies from the next
  // fold or decode step on, both ways; entries that are gone do not come back.
  absl::Status SetBudget(Budget budget) override;
  // How the budget is split over the layers: by the policy's slope, or as measured.
  LayerSplit layer_split() const;
  // What the budget comes to for the entries held now.
  EffectiveBudget effective_budget() const override;
  bool repeats_prompts() const override { return policy_->repeats_prompts(); }
  // Entries are packed to a few bits: folding wants LayerPrompt::query_moments.
  bool packs() const { return packing_ != nullptr; }
  bool follows_turn_rules() const override { return policy_->follows_turn_rules(); }
  int64_t EntriesAffordable(const Budget& budget, int64_t seen) const override;
  // Turns, pins and pictures so far.
  const TurnRules& turn_rules() const { return rules_; }
  // Attention is to add the logarithm of an entry's mass to its score.
  bool weighs_mass() const { return images_.merge; }
  // An upper bound of used_bytes() at any moment until `more_tokens` more tokens were seen, under
  // the present budget. Every page in common may have become private by then.
  int64_t UsedBytesBound(int64_t more_tokens) const override;
  // Promises that used_bytes() may reach `bytes` (PageAccount::Reserve). Pages in common that this
  // cache will only ever read (see above; not where a rebase may rotate their keys) are promised
  // already and not reserved again; so reserve anew after Clear(). 0, the initial state: pay as you
  // go. RESOURCE_EXHAUSTED, with nothing changed, when the pool cannot promise that much.
  absl::Status Reserve(int64_t bytes) override;
  // What the pool holds for this cache alone; pages in common are the shared ledger's.
  int64_t reserved_bytes() const override { return account_.reserved_bytes(); }

  // --- prefill of new tokens, layer by layer, in order ---
  // Computes every layer's share. Starting again before the first FoldLayer is allowed (a cancelled
  // turn). A turn begins: `pins`, rows of the prompt, ascending and apart from each other, stay
  // from this fold on, unmerged, whatever the budget: see EntriesAffordable(). `pictures`, rows
  // likewise, are held to their own budget if they have one. INVALID_ARGUMENT: tokens < 1.
  // FAILED_PRECONDITION: not intact, or a policy that drops nothing cannot hold the tokens in a
  // byte budget.
  absl::Status BeginPrefill(int32_t tokens, std::span<const TokenSpan> pins = {},
                            std::span<const TokenSpan> pictures = {});
  // Entries per head the workspace must hold for this prefill: the largest layer's old plus the new
  // ones.
  int32_t PrefillEntries() const;
  // Entries the longest head of a layer holds before this prefill; the prompt's first key in its
  // LayerPrompt.
  int32_t OldEntries(int layer) const override;
  // Fills the workspace for a layer: see LayerPrompt. REQUIRES: prompt->capacity >=
  // PrefillEntries().
  void LoadLayer(int layer, LayerPrompt* prompt) const;
  // Counts the prompt's repetition, if it was read, then selects, merges and stores the kept
  // entries; the layer's old pages are given back before new ones are taken. A policy that only
  // appends keeps them and adds the new entries. RESOURCE_EXHAUSTED when pages lack: the layer is
  // then lost, call Clear(). `run`: for what may be done on several threads; the result is the
  // same.
  absl::StatusOr<FoldReport> FoldLayer(int layer, const LayerPrompt& prompt,
                                       RunTasks run = RunInTurn);
  // True from a BeginPrefill whose prompt is to be read twice (Policy::measures_layers) until every
  // layer was measured. A prefill that does not measure is folded to even shares.
  bool measuring() const { return measuring_; }
  // Takes note of how a layer pays attention; after the last one, computes the shares anew. Nothing
  // is stored. FAILED_PRECONDITION when the layer is not the next to measure.
  absl::Status MeasureLayer(int layer, const LayerPrompt& prompt);
  // seen += tokens. REQUIRES: every layer was folded.
  void CommitPrefill();
  // False from the first FoldLayer to CommitPrefill. A prefill given up in between leaves layers
  // that have seen different tokens: Clear() and rebuild from the transcript.
  bool intact() const override { return intact_; }
  // Frees every page and forgets everything but policy, budget and reservation.
  void Clear() override;

  // --- decode ---
  // Unpacks S into f32 and orders the entries by birth. Idempotent.
  void BeginDecode() override;
  bool decoding() const { return decoding_; }
  // Appends the token's entry to every KV head of a layer; k and v: [kv_heads][head_dim], k rotated
  // at next_position(). Copies what it or the eviction to come would change of pages in common. All
  // heads or none: RESOURCE_EXHAUSTED when pages lack, FAILED_PRECONDITION when a policy that drops
  // nothing has reached its byte budget; then call AbandonToken().
  absl::Status AppendToken(int layer, const float* k, const float* v);
  // For the decode kernel: page addresses of the Head()'s rows, and S by slot, to which it adds the
  // attention just paid, after AppendToken(). Valid, like what HeadCache has of groups, until the
  // layer is appended to, evicted from or folded.
  const uint8_t* const* PagePointers(int layer, int head) const {
    return Head(layer, head).page_pointers();
  }
  float* LiveScores(int layer, int head) { return Head(layer, head).live_scores(); }
  // Evicts until the layer is within its share at seen() + 1; returns how many entries went.
  int64_t EvictLayer(int layer);
  // The same head by head: after BeginEviction(), EvictHead() once for every head of the layer, by
  // several threads at a time if you like.
  void BeginEviction(int layer);
  int64_t EvictHead(int layer, int head);
  // seen += 1. REQUIRES: every layer was appended to.
  void CommitToken();
  // Takes back the entries of a token that could not be finished.
  void AbandonToken();
  // Packs S again, or forgets it when the policy does not need it. Idempotent; BeginPrefill does it
  // too.
  void EndDecode() override;

  // --- positions ---
  OnContextEnd on_context_end() const override { return on_context_end_; }
  bool FitsContext(int64_t more_tokens, int64_t max_positions) const override {
    return more_tokens <= max_positions && next_position() <= max_positions - more_tokens;
  }
  // Makes room for `more_tokens` below max_positions (algorithm: PositionMap) and re-rotates every
  // key once. Nothing to do when they fit. FAILED_PRECONDITION "CONTEXT_EXHAUSTED ...", with
  // nothing changed, when the session or its policy refuses or no map makes them fit;
  // RESOURCE_EXHAUSTED, with nothing changed, when the pages in common cannot be copied.
  absl::Status RebaseFor(int64_t more_tokens, int64_t max_positions,
                         const RotateFn& rotate) override;
  // Position of a live entry or a token to come; not where the policy counts entries.
  int64_t PositionOf(int64_t birth) const { return positions_.Of(birth); }

  // One head's storage, for tests and snapshots.
  const HeadCache& Head(int layer, int head) const {
    return heads_[static_cast<size_t>(layer) * shape_.kv_heads + head];
  }

 private:
  HeadCache& Head(int layer, int head) {
    return heads_[static_cast<size_t>(layer) * shape_.kv_heads + head];
  }
  // Entries of a layer, of all heads, and how many that is per head, rounded up.
  int64_t EntriesOf(int layer) const;
  int32_t EntriesPerHead(int layer) const;
  std::vector<int32_t> Holds(int32_t more) const;
  Budget GrantedBudget() const;
  EffectiveBudget Resolve(int64_t seen, std::span<const int32_t> holds) const;
  // Resolves the budget for the fold or step about to begin and fixes the bytes it may use
  // meanwhile.
  void BeginStep(int64_t seen, int32_t more);
  // The layer's share, lowered where its pages would take a byte budget past its cap half way
  // through.
  int32_t ShareWithinBytes(int layer) const;
  absl::Status CheckByteCap(int64_t extra_pages) const;
  // True: the policy never changes an entry it holds, nor drops one.
  bool appends_only() const { return policy_->keeps_everything() && !policy_->needs_scores(); }
  // Takes, for every head of a layer, the pages `more` entries lack and the copies of pages in
  // common that are about to be written to. All or nothing.
  absl::Status MakeRoom(int layer, int32_t more);
  absl::Status MakeAllWritable();
  // Pages in common that only the end of this cache gives up.
  int64_t LastingSharedBytes() const;
  // The rules of the fold or step under way.
  const TurnRules& step_rules() const { return prefill_tokens_ > 0 ? next_rules_ : rules_; }
  int64_t EvictToCap(int layer, int head);
  // Of a layer's share, every head's part while decoding.
  void SetCaps(int layer, int32_t share);
  // LayerView::fading of a fold after which `seen` tokens were seen.
  std::vector<float> FadingAt(int64_t seen) const;
  // New pins may move entries from deep layers to shallow ones, which are folded first: before the
  // first layer gains, the others give what they will have to.
  absl::Status MakeWayForPins();
  // Of one head's entries, 1 for those that accept no merges; empty: all do.
  std::vector<uint8_t> Closed(const LayerPrompt& prompt, int head) const;
  MergedHead Merge(const LayerPrompt& prompt, std::span<const int32_t> kept, int head) const;
  absl::Status StoreNew(int layer, const LayerPrompt& prompt);
  absl::Status StoreKept(int layer, const LayerPrompt& prompt, const Selection& kept);
  void AppendKept(const LayerPrompt& prompt, std::span<const int32_t> kept, int head,
                  HeadCache* cache) const;
  void ReleaseLayer(int layer);
  // With groups: chooses, stores and evicts by cost (session_packing.cpp).
  void BeginPackedStep(int64_t seen, int32_t more);
  HeadPlan PackedShare(int layer) const;
  Selection SelectPacked(int layer, const LayerView& view) const;
  absl::Status StorePacked(int layer, const LayerPrompt& prompt, const LayerView& view,
                           const Selection& kept, RunTasks run);
  absl::Status StoreHead(int layer, int head, const LayerPrompt& prompt,
                         std::span<const int32_t> rows, std::span<const GroupImage> images);
  bool OpenGroup(std::vector<int32_t> rows, HeadCache* cache);
  int64_t ShrinkHead(int layer, int head);
  // Its scores are in scratch_[head].
  DecodeView HeadView(int layer, int head, int32_t cap, const EntryReader& entries);
  int32_t VictimOf(int layer, int head);
  // `may_go`: as DecodeView has it. REQUIRES: one, of any, where there are rules.
  std::vector<int32_t> PackedVictims(int layer, int head, std::span<const int32_t> may_go,
                                     int32_t count);
  std::vector<uint32_t> LiveBirths() const;
  absl::Status RotateKeys(const PositionMap& next, const RotateFn& rotate);

  CacheShape shape_;
  EntryType type_;
  EntryLayout layout_;
  std::shared_ptr<const Policy> policy_;
  Budget budget_;
  OnContextEnd on_context_end_;
  ImageFold images_;
  RotateFn rotate_;
  PageAccount account_;
  std::unique_ptr<Packing> packing_;  // null: no groups
  std::vector<HeadCache> heads_;      // [layer][head]
  PositionMap positions_;
  int64_t seen_ = 0;
  TurnRules rules_;
  TurnRules next_rules_;               // with the turn of the prefill under way
  std::vector<double> layer_weights_;  // as measured; empty: the policy's slope

  EffectiveBudget step_;  // shares of the fold or decode step under way
  Budget step_budget_;    // what step_ was computed from
  int32_t step_floor_ = 0;
  std::vector<int32_t> step_holds_;
  int64_t step_bytes_max_ = 0;  // bytes it may use meanwhile (byte budgets)
  int32_t prefill_tokens_ = 0;  // 0: no prefill under way
  std::vector<float> fading_;   // LayerView::fading of that prefill
  int32_t over_images_ = 0;     // of the prompt's entries in a head, what pictures may not keep
  int next_layer_ = 0;          // layer to measure, to fold or to append to next
  bool measuring_ = false;
  std::vector<std::vector<float>> concentrations_;  // of the layers measured so far
  bool intact_ = true;
  bool decoding_ = false;
  bool step_open_ = false;                   // a decode step has appended to some layer
  std::vector<int32_t> caps_;                // by head, of the layer that is being evicted from
  std::vector<std::vector<float>> scratch_;  // likewise
  std::vector<PageId> fresh_;                // MakeRoom's
};

}  // namespace concertina
