#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cache/budget.h"
#include "cache/conversation_cache.h"
#include "cache/fold_report.h"
#include "cache/page_account.h"
#include "models/tensor/device_memory.h"
#include "models/tensor/device_policy.h"
#include "models/tensor/step_plan.h"

namespace concertina {

// One conversation's elastic cache on a device: which pages it has and how many entries, on the
// host; the entries and everything per entry on the device. It keeps what SessionCache would, to
// the entry, and differs so: budgets are ratios or tokens; positions end at the trained context; it
// cannot be forked; between the first decode step and EndDecode() it holds a page per head more
// than its entries need, so that a step that appends before it evicts passes no pages to and fro.
//
// The methods of ConversationCache do not throw; the others throw c10::Error, after which Break()
// must be called. Engine thread only; the memory must outlive it.
class DeviceCache final : public ConversationCache {
 public:
  // REQUIRES: a valid budget that is not in bytes; memory->keeps_scores() unless the policy keeps
  // everything.
  DeviceCache(DeviceMemory* memory, DevicePolicy policy, const Budget& budget);
  ~DeviceCache() override { Clear(); }
  DeviceCache(const DeviceCache&) = delete;
  DeviceCache& operator=(const DeviceCache&) = delete;

  CacheShape shape() const override { return memory_->shape().heads; }
  int64_t seen() const override { return seen_; }
  int64_t next_position() const override { return seen_; }
  int32_t OldEntries(int layer) const override { return layers_[layer].entries; }
  int64_t live_entries() const override;
  int64_t payload_bytes() const override;
  int64_t used_bytes() const override { return account_.used_bytes(); }
  int64_t shared_bytes() const override { return 0; }
  int64_t FullBytes(int64_t tokens) const override;

  const Budget& budget() const override { return budget_; }
  // The errors of ValidateBudget; UNIMPLEMENTED for bytes.
  static absl::Status CheckBudget(const Budget& budget);
  // The errors of CheckBudget.
  absl::Status SetBudget(Budget budget) override;
  EffectiveBudget effective_budget() const override;
  bool follows_turn_rules() const override { return false; }
  int64_t EntriesAffordable(const Budget& budget, int64_t seen) const override {
    return concertina::EntriesAffordable(budget, seen, layout_, shape());
  }
  int64_t UsedBytesBound(int64_t more_tokens) const override;
  absl::Status Reserve(int64_t bytes) override { return account_.Reserve(bytes); }
  int64_t reserved_bytes() const override { return account_.reserved_bytes(); }

  bool intact() const override { return intact_; }
  void Clear() override;
  void BeginDecode() override {}  // it sits down for its first step
  void EndDecode() override;
  absl::StatusOr<std::unique_ptr<ConversationCache>> ForkConversation() override;

  OnContextEnd on_context_end() const override { return OnContextEnd::kRefuse; }
  bool FitsContext(int64_t more_tokens, int64_t max_positions) const override {
    return more_tokens <= max_positions - seen_;
  }
  absl::Status RebaseFor(int64_t more_tokens, int64_t max_positions,
                         const RotateFn& rotate) override;

  const DevicePolicy& policy() const { return policy_; }
  bool keeps_scores() const { return memory_->keeps_scores(); }
  // Of a layer, [page][kv_head].
  std::span<const PageId> pages(int64_t layer) const { return layers_[layer].pages; }
  // The layer's entries in birth order, S as it is now.
  LayerEntries Contents(int64_t layer) const;
  // What is on the device cannot be relied on any more.
  void Break() { intact_ = false; }

  // --- a prompt of `tokens` tokens: every layer in order ---
  // `pictures`: those among them, as in SessionCache::BeginPrefill.
  absl::Status BeginPrefill(int64_t tokens, std::span<const TokenSpan> pictures = {});
  // Stores the layer's entries: `all` are those held and the prompt's, in birth order, with S
  // including the prompt's column sums where the policy needs them. RESOURCE_EXHAUSTED when pages
  // lack: the layer is then lost.
  absl::StatusOr<FoldReport> Fold(int64_t layer, const LayerEntries& all);
  void CommitPrefill();

  // --- a decode step ---
  int64_t seat() const { return seat_; }  // -1: none
  void SitDown(int64_t seat);             // REQUIRES: a free seat, intact()
  // The shares after one more token; returns the most entries that leave a layer then.
  int64_t PlanShares();
  // Makes room for one more entry in every layer and writes the seat's part of `plan`, which must
  // have as many rounds. RESOURCE_EXHAUSTED when pages lack.
  absl::Status Plan(StepPlan* plan);
  int32_t planned_surplus(int64_t layer) const;
  int64_t CommitToken();  // returns how many entries went

 private:
  struct Layer {
    int32_t entries = 0;          // per head
    int32_t entries_at_fold = 0;  // of them, at the last fold
    int32_t share = 0;            // of the prompt or step under way
    std::vector<PageId> pages;    // [page][kv_head]
    PagedLayer resting;           // of one row: what is kept beside the pages while nobody sits
  };

  Budget GrantedBudget() const;
  EffectiveBudget Resolve(int64_t seen, int32_t more) const;
  void ResolveShares(int64_t seen, int32_t more);
  std::vector<float> FadingAt(int64_t seen) const;
  absl::Status TakePages(int64_t layer, int64_t entries);
  void GivePages(int64_t layer, int64_t entries);
  // The layer's tensors as large as its pages, with the table of these.
  void FitResting(Layer* layer) const;
  void StandUp();
  void LeaveSeat();
  void PlanEvictions(int64_t index, StepPlan* plan) const;

  DeviceMemory* memory_;
  DevicePolicy policy_;
  Budget budget_;
  EntryLayout layout_;  // of `cache/`, to resolve budgets
  PageAccount account_;
  std::vector<Layer> layers_;
  // By birth, those of a prompt under way included.
  std::vector<TokenSpan> pictures_;
  std::vector<int64_t> turn_starts_;
  std::vector<float> fading_;  // of the prompt under way
  int64_t seen_ = 0;
  int64_t prefill_tokens_ = 0;
  int64_t seat_ = -1;
  bool intact_ = true;
};

}  // namespace concertina
