#include "cache/page_account.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "cache/check.h"

namespace concertina {

PageAccount::~PageAccount() {
  CONCERTINA_CHECK(used_bytes_ == 0, "an account is closed while it holds pages");
  pool_->Unreserve(held_bytes_);
}

absl::Status PageAccount::Reserve(int64_t bytes) {
  CONCERTINA_CHECK(bytes >= 0, "a negative reservation");
  const int64_t target = std::max(bytes, used_bytes_);
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
  const int64_t used_after = used_bytes_ + pages * pool_->page_bytes();
  if (used_after > held_bytes_) {
    if (asked_bytes_ > 0) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the session needs ", used_after, " bytes but has reserved ", held_bytes_));
    }
    if (!pool_->Reserve(used_after - held_bytes_)) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the page pool is out: ", pool_->reserved_bytes(), " of ",
                       pool_->capacity_bytes(), " bytes are promised"));
    }
    held_bytes_ = used_after;
  }
  CONCERTINA_CHECK(pool_->Allocate(pages, out), "reserved pages are missing from the pool");
  used_bytes_ = used_after;
  return absl::OkStatus();
}

void PageAccount::Give(std::span<const PageId> pages) {
  pool_->Free(pages);
  used_bytes_ -= static_cast<int64_t>(pages.size()) * pool_->page_bytes();
  CONCERTINA_CHECK(used_bytes_ >= 0, "an account gives back more pages than it took");
  const int64_t held = std::max(asked_bytes_, used_bytes_);
  pool_->Unreserve(held_bytes_ - held);
  held_bytes_ = held;
}

}  // namespace concertina
