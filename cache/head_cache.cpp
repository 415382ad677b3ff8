#include "cache/head_cache.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "cache/check.h"
#include "cache/merge.h"

namespace concertina {

int64_t HeadCache::PagesMissingFor(int64_t more) const {
  return std::max<int64_t>(0, layout_->PagesFor(rows_ + more) - row_pages());
}

void HeadCache::AddPage(PageId id, uint8_t* address) {
  ids_.push_back(id);
  bases_.push_back(address);
}

void HeadCache::ShareEntriesOf(const HeadCache& other) {
  CONCERTINA_CHECK(entries() == 0 && ids_.empty() && !other.live_, "a head shares while in use");
  rows_ = other.rows_;
  groups_.ShareGroupsOf(other.groups_);
  entries_at_fold_ = other.entries_at_fold_;
  ids_ = other.ids_;
  bases_ = other.bases_;
}

int64_t HeadCache::PagesToCopy(int64_t first, const PageAccount& account) const {
  if (account.shared_bytes() == 0) {  // as nearly always: this is asked for every token
    return 0;
  }
  const auto from = ids_.begin() + std::min(first, row_pages());
  return groups_.PagesToCopy(account) + std::count_if(from, ids_.end(), [&](PageId page) {
           return account.pool()->holders(page) > 1;
         });
}

void HeadCache::MakeWritable(int64_t first, PageAccount* account, std::vector<PageId>* fresh) {
  if (account->shared_bytes() == 0) {
    return;
  }
  groups_.MakeWritable(account, fresh);
  for (int64_t i = first; i < row_pages(); ++i) {
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

uint8_t* HeadCache::MetaAt(int32_t row) const {
  return Page(row) + layout_->meta_offset() + InPage(row) * static_cast<int64_t>(sizeof(EntryMeta));
}

void HeadCache::Append(const float* k, const float* v, EntryMeta meta) {
  CONCERTINA_CHECK(PagesMissingFor(1) == 0, "an entry is appended without a page");
  const int32_t row = rows_++;
  layout_->StoreKey(k, InPage(row), Page(row));
  layout_->StoreValue(v, InPage(row), Page(row));
  SetMeta(row, meta);
}

EntryMeta HeadCache::Meta(int32_t slot) const {
  return slot < first_row() ? groups_.Meta(slot) : RowMeta(slot - first_row());
}

EntryMeta HeadCache::RowMeta(int32_t row) const {
  EntryMeta meta;
  std::memcpy(&meta, MetaAt(row), sizeof(meta));
  return meta;
}

void HeadCache::SetMeta(int32_t row, EntryMeta meta) {
  std::memcpy(MetaAt(row), &meta, sizeof(meta));
}

void HeadCache::LoadKey(int32_t slot, float* k) const {
  const int32_t row = slot - first_row();
  row < 0 ? groups_.LoadKey(slot, k) : layout_->LoadKey(Page(row), InPage(row), k);
}

void HeadCache::LoadValue(int32_t slot, float* v) const {
  const int32_t row = slot - first_row();
  row < 0 ? groups_.LoadValue(slot, v) : layout_->LoadValue(Page(row), InPage(row), v);
}

void HeadCache::StoreKey(int32_t slot, const float* k) {
  const int32_t row = slot - first_row();
  CONCERTINA_CHECK(row >= 0, "a key is stored into a group");
  layout_->StoreKey(k, InPage(row), Page(row));
}

std::vector<int32_t> HeadCache::SlotsInBirthOrder() const {
  if (live_) {
    return order_;
  }
  std::vector<std::pair<uint32_t, int32_t>> births;
  births.reserve(static_cast<size_t>(entries()));
  for (int32_t slot = 0; slot < first_row(); ++slot) {
    if (groups_.Has(slot)) births.emplace_back(groups_.Meta(slot).birth, slot);
  }
  for (int32_t row = 0; row < rows_; ++row) {
    births.emplace_back(RowMeta(row).birth, first_row() + row);
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
  groups_.ReleaseAll(account);
  ids_.clear();
  bases_.clear();
  scores_.clear();
  bias_.clear();
  order_.clear();
  rows_ = 0;
  entries_at_fold_ = 0;
  live_ = false;
}

void HeadCache::BeginLive(bool weigh_mass) {
  if (live_) {
    return;
  }
  order_ = SlotsInBirthOrder();
  scores_.assign(static_cast<size_t>(first_row() + rows_), 0.0F);
  for (const int32_t slot : order_) {
    scores_[slot] = UnpackScore(Meta(slot).score);
  }
  groups_.BeginLive();
  if (weigh_mass) WeighMass();
  live_ = true;
}

void HeadCache::WeighMass() {
  for (int32_t row = 0; row < rows_; ++row) {
    const uint16_t mass = RowMeta(row).mass;
    if (mass <= 1) continue;
    bias_.resize(scores_.size(), 0.0F);
    bias_[first_row() + row] = LogMass(mass);
  }
}

void HeadCache::EndLive(bool keep_scores, const PagePool& pool) {
  if (!live_) {
    return;
  }
  for (int32_t row = 0; keep_scores && row < rows_; ++row) {
    EntryMeta meta = RowMeta(row);
    const uint16_t score = PackScore(scores_[first_row() + row]);
    if (score != meta.score) {
      CONCERTINA_CHECK(pool.holders(ids_[row / layout_->entries_per_page()]) == 1,
                       "attention was added to an entry that others hold");
      meta.score = score;
      SetMeta(row, meta);
    }
  }
  for (int32_t slot = 0; keep_scores && slot < first_row(); ++slot) {
    if (groups_.Has(slot)) groups_.SetScore(slot, PackScore(scores_[slot]), pool);
  }
  // Idle sessions keep nothing beside their pages.
  groups_.EndLive();
  std::vector<float>().swap(scores_);
  std::vector<float>().swap(bias_);
  std::vector<int32_t>().swap(order_);
  live_ = false;
}

void HeadCache::AppendLive(const float* k, const float* v, uint32_t birth) {
  CONCERTINA_CHECK(live_, "a token is appended outside of decode");
  order_.push_back(first_row() + rows_);
  scores_.push_back(0.0F);
  if (!bias_.empty()) bias_.push_back(0.0F);
  Append(k, v, {.birth = birth, .score = 0, .mass = 1});
}

void HeadCache::ScoresInBirthOrder(std::vector<float>* out) const {
  out->resize(order_.size());
  for (size_t i = 0; i < order_.size(); ++i) {
    (*out)[i] = scores_[order_[i]];
  }
}

std::vector<uint32_t> HeadCache::BirthsInBirthOrder() const {
  std::vector<uint32_t> by_slot(scores_.size());
  groups_.LoadBirths(by_slot);
  for (int32_t row = 0; row < rows_; ++row) by_slot[first_row() + row] = RowMeta(row).birth;
  std::vector<uint32_t> births(order_.size());
  for (size_t i = 0; i < order_.size(); ++i) births[i] = by_slot[order_[i]];
  return births;
}

uint32_t HeadCache::NewestBirth() const {
  CONCERTINA_CHECK(live_ && !order_.empty(), "no newest entry");
  return Meta(order_.back()).birth;
}

void HeadCache::RemoveInBirthOrder(int32_t index, PageAccount* account) {
  CONCERTINA_CHECK(live_ && index >= 0 && index < entries(), "no such entry to remove");
  const int32_t slot = order_[index];
  order_.erase(order_.begin() + index);
  if (slot >= first_row()) {
    RemoveRow(slot, account);
    return;
  }
  groups_.Remove(slot);
  scores_[slot] = 0.0F;
}

// The slot is no longer in the order.
void HeadCache::RemoveRow(int32_t slot, PageAccount* account) {
  const int32_t last = first_row() + rows_ - 1;
  if (slot != last) {
    const int32_t from = last - first_row();
    const int32_t to = slot - first_row();
    layout_->CopyEntry(Page(from), InPage(from), Page(to), InPage(to));
    scores_[slot] = scores_[last];
    if (!bias_.empty()) bias_[slot] = bias_[last];
    // The entry in the last slot tends to be a young one.
    *std::find(order_.rbegin(), order_.rend(), last) = slot;
  }
  scores_.pop_back();
  if (!bias_.empty()) bias_.pop_back();
  --rows_;
  ReleaseSurplus(account);
}

void HeadCache::ReleaseSurplus(PageAccount* account) {
  const int64_t needed = layout_->PagesFor(rows_);
  if (needed == row_pages()) {
    return;
  }
  account->Give(std::span<const PageId>(ids_).subspan(static_cast<size_t>(needed)));
  ids_.resize(static_cast<size_t>(needed));
  bases_.resize(static_cast<size_t>(needed));
}

}  // namespace concertina
