#include "cache/head_cache.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "cache/check.h"

namespace concertina {

int64_t HeadCache::PagesMissingFor(int64_t entries) const {
  return std::max<int64_t>(0, layout_->PagesFor(entries) - pages());
}

void HeadCache::AddPage(PageId id, uint8_t* address) {
  ids_.push_back(id);
  bases_.push_back(address);
}

void HeadCache::ShareEntriesOf(const HeadCache& other) {
  CONCERTINA_CHECK(entries_ == 0 && ids_.empty() && !other.live_, "a head shares while in use");
  entries_ = other.entries_;
  entries_at_fold_ = other.entries_at_fold_;
  ids_ = other.ids_;
  bases_ = other.bases_;
}

int64_t HeadCache::PagesToCopy(int64_t first, const PageAccount& account) const {
  if (account.shared_bytes() == 0) {  // as nearly always: this is asked for every token
    return 0;
  }
  const auto from = ids_.begin() + std::min(first, pages());
  return std::count_if(from, ids_.end(),
                       [&](PageId page) { return account.pool()->holders(page) > 1; });
}

void HeadCache::MakeWritable(int64_t first, PageAccount* account, std::vector<PageId>* fresh) {
  if (account->shared_bytes() == 0) {
    return;
  }
  for (int64_t i = first; i < pages(); ++i) {
    if (account->MakeWritable(ids_[i])) {
      continue;
    }
    CONCERTINA_CHECK(!fresh->empty(), "a page is lacking for a private copy");
    const PageId copy = fresh->back();
    fresh->pop_back();
    uint8_t* address = account->pool()->Data(copy);
    std::memcpy(address, bases_[i], static_cast<size_t>(layout_->page_bytes()));
    account->Give({&ids_[i], 1});
    ids_[i] = copy;
    bases_[i] = address;
  }
}

uint8_t* HeadCache::MetaAt(int32_t slot) const {
  return Page(slot) + layout_->meta_offset() +
         InPage(slot) * static_cast<int64_t>(sizeof(EntryMeta));
}

void HeadCache::Append(const float* k, const float* v, EntryMeta meta) {
  CONCERTINA_CHECK(PagesMissingFor(entries_ + 1) == 0, "an entry is appended without a page");
  const int32_t slot = entries_++;
  layout_->StoreKey(k, InPage(slot), Page(slot));
  layout_->StoreValue(v, InPage(slot), Page(slot));
  SetMeta(slot, meta);
}

EntryMeta HeadCache::Meta(int32_t slot) const {
  EntryMeta meta;
  std::memcpy(&meta, MetaAt(slot), sizeof(meta));
  return meta;
}

void HeadCache::SetMeta(int32_t slot, EntryMeta meta) {
  std::memcpy(MetaAt(slot), &meta, sizeof(meta));
}

void HeadCache::LoadKey(int32_t slot, float* k) const {
  layout_->LoadKey(Page(slot), InPage(slot), k);
}

void HeadCache::LoadValue(int32_t slot, float* v) const {
  layout_->LoadValue(Page(slot), InPage(slot), v);
}

void HeadCache::StoreKey(int32_t slot, const float* k) {
  layout_->StoreKey(k, InPage(slot), Page(slot));
}

std::vector<int32_t> HeadCache::SlotsInBirthOrder() const {
  if (live_) {
    return order_;
  }
  std::vector<std::pair<uint32_t, int32_t>> births(static_cast<size_t>(entries_));
  for (int32_t slot = 0; slot < entries_; ++slot) {
    births[slot] = {Meta(slot).birth, slot};
  }
  if (!std::is_sorted(births.begin(), births.end())) {  // they are, right after a fold
    std::sort(births.begin(), births.end());
  }
  std::vector<int32_t> slots(births.size());
  std::transform(births.begin(), births.end(), slots.begin(),
                 [](const auto& birth) { return birth.second; });
  return slots;
}

void HeadCache::ReleaseAll(PageAccount* account) {
  account->Give(ids_);
  ids_.clear();
  bases_.clear();
  scores_.clear();
  order_.clear();
  entries_ = 0;
  entries_at_fold_ = 0;
  live_ = false;
}

void HeadCache::BeginLive() {
  if (live_) {
    return;
  }
  order_ = SlotsInBirthOrder();
  scores_.resize(static_cast<size_t>(entries_));
  for (int32_t slot = 0; slot < entries_; ++slot) {
    scores_[slot] = UnpackScore(Meta(slot).score);
  }
  live_ = true;
}

void HeadCache::EndLive(bool keep_scores, const PagePool& pool) {
  if (!live_) {
    return;
  }
  for (int32_t slot = 0; keep_scores && slot < entries_; ++slot) {
    EntryMeta meta = Meta(slot);
    const uint16_t score = PackScore(scores_[slot]);
    if (score != meta.score) {
      CONCERTINA_CHECK(pool.holders(ids_[slot / layout_->entries_per_page()]) == 1,
                       "attention was added to an entry that others hold");
      meta.score = score;
      SetMeta(slot, meta);
    }
  }
  // Idle sessions keep nothing beside their pages.
  std::vector<float>().swap(scores_);
  std::vector<int32_t>().swap(order_);
  live_ = false;
}

void HeadCache::AppendLive(const float* k, const float* v, uint32_t birth) {
  CONCERTINA_CHECK(live_, "a token is appended outside of decode");
  order_.push_back(entries_);
  scores_.push_back(0.0F);
  Append(k, v, {.birth = birth, .score = 0, .mass = 1});
}

void HeadCache::ScoresInBirthOrder(std::vector<float>* out) const {
  out->resize(order_.size());
  for (size_t i = 0; i < order_.size(); ++i) {
    (*out)[i] = scores_[order_[i]];
  }
}

uint32_t HeadCache::NewestBirth() const {
  CONCERTINA_CHECK(live_ && !order_.empty(), "no newest entry");
  return Meta(order_.back()).birth;
}

void HeadCache::MoveEntry(int32_t from, int32_t to) {
  layout_->CopyEntry(Page(from), InPage(from), Page(to), InPage(to));
  scores_[to] = scores_[from];
}

void HeadCache::RemoveInBirthOrder(int32_t index, PageAccount* account) {
  CONCERTINA_CHECK(live_ && index >= 0 && index < entries_, "no such entry to remove");
  const int32_t hole = order_[index];
  const int32_t last = entries_ - 1;
  order_.erase(order_.begin() + index);
  if (hole != last) {
    MoveEntry(last, hole);
    // The entry in the last slot tends to be a young one.
    *std::find(order_.rbegin(), order_.rend(), last) = hole;
  }
  scores_.pop_back();
  --entries_;
  ReleaseSurplus(account);
}

void HeadCache::ReleaseSurplus(PageAccount* account) {
  const int64_t needed = layout_->PagesFor(entries_);
  if (needed == pages()) {
    return;
  }
  account->Give(std::span<const PageId>(ids_).subspan(static_cast<size_t>(needed)));
  ids_.resize(static_cast<size_t>(needed));
  bases_.resize(static_cast<size_t>(needed));
}

}  // namespace concertina
