#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cache/check.h"
#include "cache/fading.h"
#include "cache/picture_merge.h"
#include "cache/picture_selection.h"
#include "cache/repetition.h"
#include "cache/session_cache.h"

// A turn's prompt: layer by layer, the entries kept so far and the prompt's are folded to the
// layer's share.

namespace concertina {
namespace {

constexpr int64_t kTokensMax =
    std::numeric_limits<int32_t>::max() / 2;  // per session: births are 32 bits

LayerView ViewOf(int layer, const LayerPrompt& prompt, CacheShape shape, int64_t seen_after) {
  return {.layer = layer,
          .kv_heads = shape.kv_heads,
          .head_dim = shape.head_dim,
          .entries = prompt.entries(),
          .capacity = prompt.capacity,
          .seen_after = seen_after,
          .k = prompt.k,
          .v = prompt.v,
          .score = prompt.score,
          .birth = prompt.birth,
          .first = prompt.first};
}

void ClearEntries(int64_t at, int32_t count, int32_t head_dim, LayerPrompt* prompt) {
  std::fill_n(prompt->k + at * head_dim, int64_t{count} * head_dim, 0.0F);
  std::fill_n(prompt->v + at * head_dim, int64_t{count} * head_dim, 0.0F);
  std::fill_n(prompt->score + at, count, 0.0F);
  std::fill_n(prompt->birth + at, count, 0U);
  std::fill_n(prompt->mass + at, count, uint16_t{0});
}

std::vector<TokenSpan> ByBirth(std::span<const TokenSpan> rows, int64_t seen) {
  std::vector<TokenSpan> births(rows.begin(), rows.end());
  for (TokenSpan& span : births) {
    span.first += seen;
  }
  return births;
}

}  // namespace

absl::Status SessionCache::BeginPrefill(int32_t tokens, std::span<const TokenSpan> pins,
                                        std::span<const TokenSpan> pictures) {
  if (tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat("a prefill of ", tokens, " tokens"));
  }
  if (!intact_) {
    return absl::FailedPreconditionError("the cache lost part of a prefill and must be rebuilt");
  }
  if (seen_ + tokens > kTokensMax) {
    return absl::FailedPreconditionError(
        absl::StrCat("CONTEXT_EXHAUSTED a session ends after ", kTokensMax, " tokens"));
  }
  CONCERTINA_CHECK(!step_open_, "a prefill begins inside a decode step");
  EndDecode();
  int64_t extra_pages = 0;
  for (const HeadCache& head : heads_) {
    extra_pages += head.PagesMissingFor(tokens);
  }
  if (absl::Status fits = CheckByteCap(extra_pages); !fits.ok()) {
    return fits;
  }
  CONCERTINA_CHECK(pins.empty() || follows_turn_rules(), "nothing is pinned here");
  next_rules_ = rules_;
  next_rules_.BeginTurn(seen_, ByBirth(pins, seen_), ByBirth(pictures, seen_));
  over_images_ = EntriesOverImageBudget(seen_, tokens, next_rules_);
  prefill_tokens_ = tokens;
  BeginStep(seen_ + tokens, tokens - over_images_);
  fading_ = FadingAt(seen_ + tokens);
  next_layer_ = 0;
  measuring_ = policy_->measures_layers() && layer_weights_.empty() && step_.shares != step_holds_;
  concentrations_.clear();
  return absl::OkStatus();
}

absl::Status SessionCache::MeasureLayer(int layer, const LayerPrompt& prompt) {
  if (!measuring_ || layer != next_layer_) {
    return absl::FailedPreconditionError(
        absl::StrCat("layer ", layer, " is not the next to measure"));
  }
  const LayerView view = ViewOf(layer, prompt, shape_, seen_ + prefill_tokens_);
  concentrations_.push_back(policy_->Concentration(view));
  if (++next_layer_ < shape_.layers) {
    return absl::OkStatus();
  }
  const int64_t total = std::accumulate(step_.shares.begin(), step_.shares.end(), int64_t{0});
  layer_weights_ = policy_->LayerWeights(concentrations_, total);
  std::vector<std::vector<float>>().swap(concentrations_);
  measuring_ = false;
  next_layer_ = 0;
  step_holds_.clear();  // what was computed from them is void
  BeginStep(seen_ + prefill_tokens_, prefill_tokens_ - over_images_);
  return absl::OkStatus();
}

int32_t SessionCache::PrefillEntries() const {
  int32_t most = 0;
  for (int layer = 0; layer < shape_.layers; ++layer) {
    most = std::max(most, OldEntries(layer));
  }
  return most + prefill_tokens_;
}

void SessionCache::LoadLayer(int layer, LayerPrompt* prompt) const {
  CONCERTINA_CHECK(prefill_tokens_ > 0 && layer >= next_layer_, "the layer has been folded");
  const bool forgets_scores = policy_->score_window() > 0;
  const int32_t old_entries = OldEntries(layer);
  const int32_t entries = old_entries + prefill_tokens_;
  CONCERTINA_CHECK(prompt->capacity >= entries, "the prefill workspace is too small");
  prompt->old_entries = old_entries;
  prompt->new_entries = prefill_tokens_;
  prompt->first.clear();
  for (int head = 0; head < shape_.kv_heads; ++head) {
    const HeadCache& cache = Head(layer, head);
    const int32_t void_entries = old_entries - cache.entries();
    if (void_entries > 0) {
      prompt->first.resize(static_cast<size_t>(shape_.kv_heads));
      prompt->first[head] = void_entries;
    }
    ClearEntries(head * prompt->capacity, void_entries, shape_.head_dim, prompt);
    const int64_t row = head * prompt->capacity + void_entries;
    float* score = prompt->score + row;
    uint32_t* birth = prompt->birth + row;
    uint16_t* mass = prompt->mass + row;
    const std::vector<int32_t> slots = cache.SlotsInBirthOrder();
    cache.LoadEntries(slots, prompt->k + row * shape_.head_dim, prompt->v + row * shape_.head_dim);
    int32_t i = 0;
    for (const int32_t slot : slots) {
      const EntryMeta meta = cache.Meta(slot);
      score[i] = forgets_scores ? 0.0F : UnpackScore(meta.score);
      birth[i] = meta.birth;
      mass[i] = meta.mass;
      ++i;
    }
    for (; i < entries - void_entries; ++i) {
      score[i] = 0.0F;
      birth[i] = static_cast<uint32_t>(seen_ + i - cache.entries());
      mass[i] = 1;
    }
    if (prompt->query_moments != nullptr) {
      const int64_t moments = int64_t{shape_.head_dim} * shape_.head_dim;
      std::fill_n(prompt->query_moments + head * moments, moments, 0.0F);
    }
    if (prompt->repeated != nullptr) {
      std::fill_n(prompt->repeated + head * prompt->capacity, entries, 0.0F);
    }
  }
}

absl::StatusOr<FoldReport> SessionCache::FoldLayer(int layer, const LayerPrompt& prompt,
                                                   RunTasks run) {
  if (prefill_tokens_ == 0 || layer != next_layer_ || layer >= shape_.layers) {
    return absl::FailedPreconditionError(absl::StrCat("layer ", layer, " is not the next to fold"));
  }
  const int32_t entries = OldEntries(layer) + prefill_tokens_;
  CONCERTINA_CHECK(prompt.entries() == entries && prompt.new_entries == prefill_tokens_,
                   "the prompt folded is not the one loaded");
  measuring_ = false;  // where it was given up
  if (layer == 0 && next_rules_.pins().size() > rules_.pins().size()) {
    if (absl::Status made = MakeWayForPins(); !made.ok()) {
      return made;
    }
  }
  if (prompt.repeated != nullptr) {
    CountRepetition(prompt, shape_.kv_heads, seen_ + prefill_tokens_);
  }
  LayerView view = ViewOf(layer, prompt, shape_, seen_ + prefill_tokens_);
  view.packed = packs();
  view.pictures = next_rules_.pictures();
  view.turn_starts = next_rules_.turn_starts();
  view.fading = fading_;
  if (budget_.unit == Budget::Unit::kBytes) {
    view.entries_per_page = static_cast<int32_t>(layout_.entries_per_page());
  }
  const Selection kept = packs() ? SelectPacked(layer, view)
                                 : policy_->Select(view, ShareWithinBytes(layer), next_rules_);

  FoldReport report{.layer = layer};
  for (int head = 0; head < shape_.kv_heads; ++head) {
    report.entries_before += entries - prompt.First(head);
    report.bytes_before += layout_.PagesFor(entries - prompt.First(head)) * layout_.page_bytes();
  }
  if (policy_->needs_scores()) {
    AddAttention(view, kept, &report);
  }
  intact_ = false;
  if (absl::Status stored = appends_only() ? StoreNew(layer, prompt)
                            : packs()      ? StorePacked(layer, prompt, view, kept, run)
                                           : StoreKept(layer, prompt, kept);
      !stored.ok()) {
    return stored;
  }
  for (int head = 0; head < shape_.kv_heads; ++head) {
    report.entries_after += EntriesIn(layer, head);
    report.bytes_after += Head(layer, head).used_bytes();
  }
  ++next_layer_;
  return report;
}

std::vector<float> SessionCache::FadingAt(int64_t seen) const {
  if (!Fades(budget_)) return {};
  const std::vector<int32_t> all(static_cast<size_t>(shape_.layers), static_cast<int32_t>(seen));
  return FadingByTurn(next_rules_.turn_starts(), FadingHalfLife(Resolve(seen, all).shares));
}

absl::Status SessionCache::MakeWayForPins() {
  intact_ = false;
  for (int layer = 1; layer < shape_.layers; ++layer) {
    if (!packs() && EntriesPerHead(layer) <= step_.shares[layer]) {
      continue;
    }
    if (absl::Status made = MakeRoom(layer, 0); !made.ok()) {
      return made;
    }
    SetCaps(layer, step_.shares[layer]);
    for (int head = 0; head < shape_.kv_heads; ++head) {
      Head(layer, head).BeginLive();
      EvictHead(layer, head);
      Head(layer, head).EndLive(policy_->needs_scores(), *account_.pool());
    }
  }
  return absl::OkStatus();
}

std::vector<uint8_t> SessionCache::Closed(const LayerPrompt& prompt, int head) const {
  if (next_rules_.none()) {
    return {};
  }
  std::vector<uint8_t> closed(static_cast<size_t>(prompt.entries()));
  const bool isolated = next_rules_.fold() == TurnFold::kIsolate;
  for (int32_t i = 0; i < prompt.entries(); ++i) {
    const uint32_t birth = prompt.birth[head * prompt.capacity + i];
    closed[i] = next_rules_.Pinned(birth) || (isolated && birth < seen_) ? 1 : 0;
  }
  return closed;
}

// Nothing goes and nothing is merged: the entries held stay where they are, in pages that forks may
// have in common.
absl::Status SessionCache::StoreNew(int layer, const LayerPrompt& prompt) {
  if (absl::Status made = MakeRoom(layer, prompt.new_entries); !made.ok()) {
    return made;
  }
  for (int head = 0; head < shape_.kv_heads; ++head) {
    HeadCache& cache = Head(layer, head);
    const int64_t row = head * prompt.capacity;
    for (int64_t i = row + prompt.old_entries; i < row + prompt.entries(); ++i) {
      cache.Append(prompt.k + i * shape_.head_dim, prompt.v + i * shape_.head_dim,
                   {.birth = prompt.birth[i], .score = 0, .mass = prompt.mass[i]});
    }
    cache.MarkFold();
  }
  return absl::OkStatus();
}

MergedHead SessionCache::Merge(const LayerPrompt& prompt, std::span<const int32_t> kept,
                               int head) const {
  const int64_t row = head * prompt.capacity;
  HeadEntries entries{.k = prompt.k + row * shape_.head_dim,
                      .v = prompt.v + row * shape_.head_dim,
                      .mass = prompt.mass + row,
                      .entries = prompt.entries(),
                      .head_dim = shape_.head_dim};
  if (images_.merge) {
    return MergePictures(entries, kept, next_rules_,
                         {.birth = prompt.birth + row,
                          .of = [this](uint32_t birth) { return positions_.Of(birth); },
                          .rotate = &rotate_});
  }
  const std::vector<uint8_t> closed = Closed(prompt, head);
  entries.closed = closed;
  return policy_->Merge(entries, kept);
}

void SessionCache::AppendKept(const LayerPrompt& prompt, std::span<const int32_t> kept, int head,
                              HeadCache* cache) const {
  const int64_t row = head * prompt.capacity;
  const auto append = [&](int32_t index, const float* k, const float* v, uint16_t mass) {
    const int64_t from = row + index;
    cache->Append(
        k, v, {.birth = prompt.birth[from], .score = PackScore(prompt.score[from]), .mass = mass});
  };
  const int64_t d = shape_.head_dim;
  if (!policy_->merges() && !images_.merge) {
    for (const int32_t index : kept) {
      const int64_t from = row + index;
      append(index, prompt.k + from * d, prompt.v + from * d, prompt.mass[from]);
    }
    return;
  }
  const MergedHead merged = Merge(prompt, kept, head);
  for (size_t i = 0; i < kept.size(); ++i) {
    const auto at = static_cast<int64_t>(i) * d;
    append(kept[i], merged.k.data() + at, merged.v.data() + at, merged.mass[i]);
  }
}

absl::Status SessionCache::StoreKept(int layer, const LayerPrompt& prompt, const Selection& kept) {
  ReleaseLayer(layer);
  std::vector<PageId> pages;
  for (int head = 0; head < shape_.kv_heads; ++head) {
    HeadCache& cache = Head(layer, head);
    const auto count = static_cast<int32_t>(kept[head].size());
    pages.clear();
    if (absl::Status taken = account_.Take(cache.PagesMissingFor(count), &pages); !taken.ok()) {
      ReleaseLayer(layer);
      return taken;
    }
    for (const PageId page : pages) {
      cache.AddPage(page, account_.pool()->Data(page));
    }
    AppendKept(prompt, kept[head], head, &cache);
    cache.MarkFold();
  }
  return absl::OkStatus();
}

void SessionCache::CommitPrefill() {
  CONCERTINA_CHECK(prefill_tokens_ > 0 && next_layer_ == shape_.layers,
                   "a prefill is committed before every layer was folded");
  seen_ += prefill_tokens_;
  rules_ = std::move(next_rules_);
  prefill_tokens_ = 0;
  next_layer_ = 0;
  intact_ = true;
}

}  // namespace concertina
