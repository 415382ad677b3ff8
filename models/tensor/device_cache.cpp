#include "models/tensor/device_cache.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cache/fading.h"
#include "models/tensor/tensor_options.h"

namespace concertina {

DeviceCache::DeviceCache(DeviceMemory* memory, DevicePolicy policy, const Budget& budget)
    : memory_(memory),
      policy_(std::move(policy)),
      budget_(budget),
      layout_(memory->shape().heads, EntryType::kBf16, PageBytesFor(memory->shape().heads)),
      account_(memory->ledger()),
      layers_(static_cast<size_t>(memory->shape().heads.layers)) {}

int64_t DeviceCache::live_entries() const {
  int64_t entries = 0;
  for (const Layer& layer : layers_) entries += layer.entries;
  return entries * memory_->kv_heads();
}

int64_t DeviceCache::payload_bytes() const {
  return live_entries() * memory_->ledger()->page_bytes() / memory_->shape().entries_per_page;
}

int64_t DeviceCache::FullBytes(int64_t tokens) const {
  return static_cast<int64_t>(layers_.size()) * memory_->kv_heads() * memory_->PagesFor(tokens) *
         memory_->ledger()->page_bytes();
}

absl::Status DeviceCache::CheckBudget(const Budget& budget) {
  if (absl::Status status = ValidateBudget(budget); !status.ok()) return status;
  if (budget.unit == Budget::Unit::kBytes) {
    return absl::UnimplementedError("budgets in bytes are not held on a device");
  }
  return absl::OkStatus();
}

absl::Status DeviceCache::SetBudget(Budget budget) {
  if (absl::Status status = CheckBudget(budget); !status.ok()) return status;
  budget_ = budget;
  return absl::OkStatus();
}

Budget DeviceCache::GrantedBudget() const {
  return policy_.keeps_everything() ? Budget::Ratio(1.0) : budget_;
}

EffectiveBudget DeviceCache::Resolve(int64_t seen, int32_t more) const {
  std::vector<int32_t> holds;
  for (const Layer& layer : layers_) holds.push_back(layer.entries + more);
  return ResolveBudget(GrantedBudget(), seen, policy_.policy().slope_r(), holds, layout_,
                       memory_->shape().heads);
}

EffectiveBudget DeviceCache::effective_budget() const { return Resolve(seen_, 0); }

std::vector<float> DeviceCache::FadingAt(int64_t seen) const {
  if (!Fades(budget_)) return {};
  const std::vector<int32_t> all(layers_.size(), static_cast<int32_t>(seen));
  const EffectiveBudget effective = ResolveBudget(budget_, seen, policy_.policy().slope_r(), all,
                                                  layout_, memory_->shape().heads);
  return FadingByTurn(turn_starts_, FadingHalfLife(effective.shares));
}

int64_t DeviceCache::UsedBytesBound(int64_t more_tokens) const {
  const auto more = static_cast<int32_t>(std::clamp<int64_t>(more_tokens, 0, INT32_MAX / 2));
  const EffectiveBudget last = Resolve(seen_ + more, more);
  // Totals only grow on the way there. Every layer may end in a partly filled page, and has one to
  // append to before it evicts.
  const auto layers = static_cast<int64_t>(layers_.size());
  const int64_t per_head = last.entries_total / memory_->kv_heads();
  const int64_t pages = per_head / memory_->shape().entries_per_page + 2 * layers;
  const int64_t page_bytes = memory_->kv_heads() * memory_->ledger()->page_bytes();
  return std::max(pages * page_bytes, used_bytes() + layers * page_bytes);
}

absl::StatusOr<std::unique_ptr<ConversationCache>> DeviceCache::ForkConversation() {
  return absl::UnimplementedError("caches on a device cannot be forked");
}

absl::Status DeviceCache::RebaseFor(int64_t more_tokens, int64_t max_positions, const RotateFn&) {
  if (FitsContext(more_tokens, max_positions)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "CONTEXT_EXHAUSTED ", more_tokens, " tokens after ", seen_, " of at most ", max_positions));
}

absl::Status DeviceCache::TakePages(int64_t layer, int64_t entries) {
  std::vector<PageId>& pages = layers_[layer].pages;
  const int64_t missing =
      memory_->PagesFor(entries) * memory_->kv_heads() - static_cast<int64_t>(pages.size());
  if (missing <= 0) return absl::OkStatus();
  memory_->TableChanged(layer);
  return account_.Take(missing, &pages);
}

// The device reads the pages in the order of its operations, so they can be given out at once.
void DeviceCache::GivePages(int64_t layer, int64_t entries) {
  std::vector<PageId>& pages = layers_[layer].pages;
  const auto wanted = static_cast<size_t>(memory_->PagesFor(entries) * memory_->kv_heads());
  if (pages.size() <= wanted) return;
  account_.Give(std::span(pages).subspan(wanted));
  pages.resize(wanted);
  memory_->TableChanged(layer);
}

void DeviceCache::Clear() {
  LeaveSeat();
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    GivePages(static_cast<int64_t>(layer), 0);
    layers_[layer] = {};
  }
  pictures_.clear();
  turn_starts_.clear();
  seen_ = prefill_tokens_ = 0;
  intact_ = true;
}

LayerEntries DeviceCache::Contents(int64_t layer) const {
  const Layer& held = layers_[layer];
  if (seat_ >= 0) {
    memory_->UploadTables();
    return ReadEntries(memory_->store(), memory_->layer(layer), seat_, held.entries);
  }
  return ReadEntries(memory_->store(), held.resting, 0, held.entries);
}

void DeviceCache::ResolveShares(int64_t seen, int32_t more) {
  const EffectiveBudget effective = Resolve(seen, more);
  for (size_t i = 0; i < layers_.size(); ++i) {
    layers_[i].share = policy_.keeps_everything() ? layers_[i].entries + more : effective.shares[i];
  }
}

absl::Status DeviceCache::BeginPrefill(int64_t tokens, std::span<const TokenSpan> pictures) {
  EndDecode();
  if (!intact_) {
    return absl::FailedPreconditionError("the cache lost part of a prefill and must be rebuilt");
  }
  ResolveShares(seen_ + tokens, static_cast<int32_t>(tokens));
  // Those of a prompt that was given up are not seen.
  std::erase_if(pictures_, [this](const TokenSpan& picture) { return picture.first >= seen_; });
  for (const auto& [first, count] : pictures) pictures_.push_back({seen_ + first, count});
  std::erase_if(turn_starts_, [this](int64_t first) { return first >= seen_; });
  turn_starts_.push_back(seen_);
  fading_ = FadingAt(seen_ + tokens);
  prefill_tokens_ = tokens;
  return absl::OkStatus();
}

void DeviceCache::FitResting(Layer* layer) const {
  const int64_t columns = static_cast<int64_t>(layer->pages.size()) / memory_->kv_heads();
  const int64_t capacity = columns * memory_->shape().entries_per_page;
  GrowLayer(memory_->store(), 1, memory_->kv_heads(), capacity, memory_->shape().entries_per_page,
            memory_->keeps_scores(), &layer->resting);
  layer->resting.table = memory_->TableOf(layer->pages, columns);
}

absl::StatusOr<FoldReport> DeviceCache::Fold(int64_t index, const LayerEntries& all) {
  Layer& layer = layers_[index];
  const int64_t heads = memory_->kv_heads();
  const int64_t page_bytes = memory_->ledger()->page_bytes();
  const int64_t entries = all.k.size(1);
  FoldReport report{.layer = static_cast<int32_t>(index), .entries_before = entries * heads};
  report.bytes_before = memory_->PagesFor(entries) * heads * page_bytes;
  intact_ = false;
  LayerEntries kept;
  int64_t first = 0;
  if (policy_.keeps_everything()) {  // the entries held stay where they are
    first = layer.entries;
    kept = EntriesFrom(all, first);
  } else {
    kept = policy_.Fold(all, layer.share,
                        {.seen_after = seen_ + prefill_tokens_,
                         .pictures = pictures_,
                         .turn_starts = turn_starts_,
                         .fading = fading_},
                        &report);
    GivePages(index, 0);
    layer.resting = {};
  }
  layer.entries = layer.entries_at_fold = static_cast<int32_t>(first + kept.k.size(1));
  if (absl::Status status = TakePages(index, layer.entries); !status.ok()) return status;
  FitResting(&layer);
  WriteEntries(memory_->store(), kept, 0, first, &layer.resting);
  report.entries_after = layer.entries * heads;
  report.bytes_after = static_cast<int64_t>(layer.pages.size()) * page_bytes;
  return report;
}

void DeviceCache::CommitPrefill() {
  seen_ += prefill_tokens_;
  prefill_tokens_ = 0;
  intact_ = true;
}

}  // namespace concertina
