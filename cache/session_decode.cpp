#include "absl/strings/str_cat.h"
#include "cache/check.h"
#include "cache/head_shares.h"
#include "cache/session_cache.h"

// Decode: every layer appends the token's entry, pays attention and evicts down to its share.

namespace concertina {
namespace {

class LiveEntries final : public EntryReader {
 public:
  explicit LiveEntries(const HeadCache& head) : head_(head) {}
  uint32_t Birth(int32_t index) const override { return head_.Meta(head_.LiveSlot(index)).birth; }
  void LoadKey(int32_t index, float* k) const override { head_.LoadKey(head_.LiveSlot(index), k); }

 private:
  const HeadCache& head_;
};

}  // namespace

void SessionCache::BeginDecode() {
  CONCERTINA_CHECK(intact_, "decode begins on a cache that must be rebuilt");
  prefill_tokens_ = 0;  // a prefill that was given up before its first fold
  for (HeadCache& head : heads_) {
    head.BeginLive(weighs_mass());
  }
  decoding_ = true;
}

absl::Status SessionCache::AppendToken(int layer, const float* k, const float* v) {
  if (!decoding_ || layer != next_layer_ || layer >= shape_.layers) {
    return absl::FailedPreconditionError(
        absl::StrCat("layer ", layer, " is not the next to append to"));
  }
  if (!step_open_) {
    BeginStep(seen_ + 1, 1);
    step_open_ = true;
  }
  int64_t missing = 0;
  for (int head = 0; head < shape_.kv_heads; ++head) {
    missing += Head(layer, head).PagesMissingFor(1);
  }
  if (absl::Status fits = CheckByteCap(missing); !fits.ok()) {
    return fits;
  }
  if (absl::Status made = MakeRoom(layer, 1); !made.ok()) {
    return made;
  }
  for (int head = 0; head < shape_.kv_heads; ++head) {
    HeadCache& cache = Head(layer, head);
    const int64_t at = static_cast<int64_t>(head) * shape_.head_dim;
    cache.AppendLive(k + at, v + at, static_cast<uint32_t>(seen_));
  }
  ++next_layer_;
  return absl::OkStatus();
}

int64_t SessionCache::EvictLayer(int layer) {
  BeginEviction(layer);
  int64_t evicted = 0;
  for (int head = 0; head < shape_.kv_heads; ++head) evicted += EvictHead(layer, head);
  return evicted;
}

void SessionCache::BeginEviction(int layer) {
  CONCERTINA_CHECK(step_open_ && layer < next_layer_, "eviction before the layer's append");
  if (!packs()) SetCaps(layer, ShareWithinBytes(layer));
}

int64_t SessionCache::EvictHead(int layer, int head) {
  return packs() ? ShrinkHead(layer, head) : EvictToCap(layer, head);
}

int64_t SessionCache::EvictToCap(int layer, int head) {
  HeadCache& cache = Head(layer, head);
  int64_t evicted = 0;
  for (; cache.entries() > caps_[head]; ++evicted) {
    cache.RemoveInBirthOrder(VictimOf(layer, head), &account_);
  }
  return evicted;
}

void SessionCache::SetCaps(int layer, int32_t share) {
  if (!policy_->splits_heads()) {
    caps_.assign(static_cast<size_t>(shape_.kv_heads), share);
    return;
  }
  std::vector<int32_t> folded;
  std::vector<int32_t> holds;
  for (int head = 0; head < shape_.kv_heads; ++head) {
    folded.push_back(Head(layer, head).entries_at_fold());
    holds.push_back(EntriesIn(layer, head));
  }
  const int32_t floor = step_rules().floor();
  caps_ = SplitAsFolded(int64_t{share} * shape_.kv_heads, folded, holds, floor);
  if (budget_.unit == Budget::Unit::kBytes) {
    const int64_t pages = layout_.PagesFor(share) * shape_.kv_heads;
    FitPages(pages, static_cast<int32_t>(layout_.entries_per_page()), holds, floor, &caps_);
  }
}

DecodeView SessionCache::HeadView(int layer, int head, int32_t cap, const EntryReader& entries) {
  const HeadCache& cache = Head(layer, head);
  cache.ScoresInBirthOrder(&scratch_[head]);
  return {.scores = scratch_[head],
          .cap = cap,
          .anchors_at_fold = cache.entries_at_fold(),
          .layer = layer,
          .head_dim = shape_.head_dim,
          .entries = &entries};
}

int32_t SessionCache::VictimOf(int layer, int head) {
  const LiveEntries entries(Head(layer, head));
  return policy_->Victim(HeadView(layer, head, caps_[head], entries), rules_);
}

std::vector<int32_t> SessionCache::PackedVictims(int layer, int head,
                                                 std::span<const int32_t> may_go, int32_t count) {
  const HeadCache& cache = Head(layer, head);
  const LiveEntries entries(cache);
  const std::vector<uint32_t> births = cache.BirthsInBirthOrder();
  DecodeView view = HeadView(layer, head, cache.entries() - 1, entries);
  view.births = births;
  if (!rules_.none()) return {policy_->Victim(view, rules_)};
  view.may_go = may_go;
  return policy_->Victims(view, count);
}

void SessionCache::CommitToken() {
  CONCERTINA_CHECK(step_open_ && next_layer_ == shape_.layers,
                   "a token is committed before every layer has its entry");
  ++seen_;
  step_open_ = false;
  next_layer_ = 0;
}

void SessionCache::AbandonToken() {
  for (HeadCache& head : heads_) {
    // Never evicted within its own step, the token's entry is still the newest.
    if (step_open_ && head.entries() > 0 && head.NewestBirth() == seen_) {
      head.RemoveInBirthOrder(head.entries() - 1, &account_);
    }
  }
  step_open_ = false;
  next_layer_ = 0;
}

void SessionCache::EndDecode() {
  CONCERTINA_CHECK(!step_open_, "decode ends inside a step");
  if (!decoding_) {
    return;
  }
  for (HeadCache& head : heads_) {
    head.EndLive(policy_->needs_scores(), *account_.pool());
  }
  decoding_ = false;
}

}  // namespace concertina
