#include <algorithm>

#include "cache/session_cache.h"

// Forks: pages in common, and private copies of those about to be written to.

namespace concertina {

absl::StatusOr<std::unique_ptr<SessionCache>> SessionCache::Fork() {
  if (!intact_ || decoding_) {
    return absl::FailedPreconditionError("a cache forks between turns only");
  }
  auto fork = std::make_unique<SessionCache>(account_.pool(), shape_, type_, policy_, budget_,
                                             on_context_end_, rules_.fold(), images_, rotate_);
  std::vector<PageId> pages;
  for (const HeadCache& head : heads_) {
    for (const auto ids : {head.page_ids(), head.groups().page_ids()}) {
      pages.insert(pages.end(), ids.begin(), ids.end());
    }
  }
  if (absl::Status shared = account_.Share(pages, &fork->account_); !shared.ok()) {
    return shared;
  }
  for (size_t i = 0; i < heads_.size(); ++i) {
    fork->heads_[i].ShareEntriesOf(heads_[i]);
  }
  fork->positions_ = positions_;
  fork->rules_ = rules_;
  fork->layer_weights_ = layer_weights_;
  fork->seen_ = seen_;
  if (packs()) {
    *fork->packing_ = packing_->CopyFor(&fork->layout_);
  }
  return fork;
}

absl::Status SessionCache::MakeRoom(int layer, int32_t more) {
  // A policy that needs scores changes those of all entries, and evicting moves any of them.
  const auto first_written = [this](const HeadCache& cache) {
    return appends_only() ? cache.PageOfNext() : 0;
  };
  int64_t lacking = 0;
  for (int head = 0; head < shape_.kv_heads; ++head) {
    const HeadCache& cache = Head(layer, head);
    lacking += cache.PagesMissingFor(more) + cache.PagesToCopy(first_written(cache), account_);
  }
  if (lacking == 0 && account_.shared_bytes() == 0) {  // as for most tokens
    return absl::OkStatus();
  }
  fresh_.clear();
  if (absl::Status taken = account_.Take(lacking, &fresh_); !taken.ok()) {
    return taken;
  }
  std::reverse(fresh_.begin(), fresh_.end());  // used from the end, in ascending order
  for (int head = 0; head < shape_.kv_heads; ++head) {
    HeadCache& cache = Head(layer, head);
    cache.MakeWritable(first_written(cache), &account_, &fresh_);
    while (cache.PagesMissingFor(more) > 0) {
      cache.AddPage(fresh_.back(), account_.pool()->Data(fresh_.back()));
      fresh_.pop_back();
    }
  }
  return absl::OkStatus();
}

absl::Status SessionCache::MakeAllWritable() {
  int64_t copies = 0;
  for (const HeadCache& head : heads_) {
    copies += head.PagesToCopy(0, account_);
  }
  std::vector<PageId> fresh;
  if (absl::Status taken = account_.Take(copies, &fresh); !taken.ok()) {
    return taken;
  }
  for (HeadCache& head : heads_) {
    head.MakeWritable(0, &account_, &fresh);
  }
  return absl::OkStatus();
}

int64_t SessionCache::LastingSharedBytes() const {
  if (account_.shared_bytes() == 0 || !appends_only() || on_context_end_ == OnContextEnd::kRebase) {
    return 0;
  }
  int64_t pages = 0;
  for (const HeadCache& head : heads_) {
    const auto full = head.page_ids().first(static_cast<size_t>(head.PageOfNext()));
    pages += std::count_if(full.begin(), full.end(),
                           [this](PageId page) { return account_.pool()->in_shared_ledger(page); });
  }
  return pages * layout_.page_bytes();
}

absl::Status SessionCache::Reserve(int64_t bytes) {
  if (account_.shared_bytes() > 0) {  // what no fork holds any more is private again
    for (const HeadCache& head : heads_) {
      for (const auto pages : {head.page_ids(), head.groups().page_ids()}) {
        for (const PageId page : pages) account_.MakeWritable(page);
      }
    }
  }
  // What is asked for stays above zero, which would lift the reservation.
  return account_.Reserve(bytes > 0 ? std::max<int64_t>(1, bytes - LastingSharedBytes()) : 0);
}

}  // namespace concertina
