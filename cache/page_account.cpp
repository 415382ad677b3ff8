#include "cache/page_account.h"

#include <algorithm>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "cache/check.h"

namespace concertina {

PageAccount::~PageAccount() {
  CONCERTINA_CHECK(used_bytes_ == 0, "an account is closed while it holds pages");
  pool_->Unreserve(held_bytes_);
}

absl::Status PageAccount::Reserve(int64_t bytes) {
  CONCERTINA_CHECK(bytes >= 0, "a negative reservation");
  const int64_t target = std::max(bytes, private_bytes());
  if (target > held_bytes_) {
    if (!pool_->Reserve(target - held_bytes_)) {
      return absl::ResourceExhaustedError(absl::StrCat("the pool cannot reserve ", target,
                                                       " bytes: ", pool_->reserved_bytes(), " of ",
                                                       pool_->capacity_bytes(), " are promised"));
    }
  } else {
    pool_->Unreserve(held_bytes_ - target);
  }
  asked_bytes_ = bytes;
  held_bytes_ = target;
  return absl::OkStatus();
}

absl::Status PageAccount::Take(int64_t pages, std::vector<PageId>* out) {
  const std::lock_guard lock(pool_->lock());
  const int64_t taken = pages * pool_->page_bytes();
  const int64_t private_after = private_bytes() + taken;
  if (private_after > held_bytes_) {
    if (asked_bytes_ > 0) {
      return absl::ResourceExhaustedError(absl::StrCat("the session needs ", private_after,
                                                       " bytes but has reserved ", held_bytes_));
    }
    if (!pool_->Reserve(private_after - held_bytes_)) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the page pool is out: ", pool_->reserved_bytes(), " of ",
                       pool_->capacity_bytes(), " bytes are promised"));
    }
    held_bytes_ = private_after;
  }
  CONCERTINA_CHECK(pool_->Allocate(pages, out), "reserved pages are missing from the pool");
  used_bytes_ += taken;
  return absl::OkStatus();
}

void PageAccount::Give(std::span<const PageId> pages) {
  const std::lock_guard lock(pool_->lock());
  for (const PageId page : pages) {
    shared_bytes_ -= pool_->in_shared_ledger(page) ? pool_->page_bytes() : 0;
  }
  pool_->Free(pages);
  used_bytes_ -= static_cast<int64_t>(pages.size()) * pool_->page_bytes();
  CONCERTINA_CHECK(shared_bytes_ >= 0 && private_bytes() >= 0,
                   "an account gives back more pages than it took");
  LowerHeld();
}

void PageAccount::LowerHeld() {
  const int64_t held = std::max(asked_bytes_, private_bytes());
  pool_->Unreserve(held_bytes_ - held);
  held_bytes_ = held;
}

absl::Status PageAccount::Share(std::span<const PageId> pages, PageAccount* other) {
  int64_t newly_shared = 0;
  for (const PageId page : pages) {
    newly_shared += pool_->in_shared_ledger(page) ? 0 : pool_->page_bytes();
  }
  // What this account no longer holds passes to the shared ledger; a reservation asked for stays.
  const int64_t held_after = std::max(asked_bytes_, private_bytes() - newly_shared);
  if (!pool_->Reserve(newly_shared - (held_bytes_ - held_after))) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the pool cannot promise ", newly_shared, " bytes of shared pages beside a reservation: ",
        pool_->reserved_bytes(), " of ", pool_->capacity_bytes(), " are promised"));
  }
  held_bytes_ = held_after;
  shared_bytes_ += newly_shared;
  for (const PageId page : pages) {
    pool_->AddHolder(page);
  }
  const int64_t bytes = static_cast<int64_t>(pages.size()) * pool_->page_bytes();
  other->used_bytes_ += bytes;
  other->shared_bytes_ += bytes;
  return absl::OkStatus();
}

bool PageAccount::MakeWritable(PageId page) {
  if (pool_->holders(page) > 1) {
    return false;
  }
  if (pool_->in_shared_ledger(page)) {
    // The page's promise becomes this account's, or lapses where its reservation already covers it.
    pool_->Unshare(page);
    shared_bytes_ -= pool_->page_bytes();
    held_bytes_ += pool_->page_bytes();
    LowerHeld();
  }
  return true;
}

}  // namespace concertina
