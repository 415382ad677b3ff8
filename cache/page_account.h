#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "cache/page_pool.h"

namespace concertina {

// A session's account with the pool: what it reserved and what it uses. Gives the rest of its
// reservation back when destroyed. Owned by the engine thread, but Take() and Give() may be called
// from several threads at a time; the pool must outlive it.
//
// Pages in common with forks count as used by every holder, but are reserved by the pool's shared
// ledger: an account reserves its private pages only.
class PageAccount {
 public:
  explicit PageAccount(PagePool* pool) : pool_(pool) {}
  // REQUIRES: every page was given back.
  ~PageAccount();
  PageAccount(const PageAccount&) = delete;
  PageAccount& operator=(const PageAccount&) = delete;

  // Sets the whole reservation for private pages to `bytes` (not an increment). Pages in use stay
  // reserved even when `bytes` is less. 0: no reservation of its own, each page is reserved as it
  // is taken and may be refused. RESOURCE_EXHAUSTED, with nothing changed, when the pool cannot
  // promise that much.
  absl::Status Reserve(int64_t bytes);

  // Appends `pages` ids to `out`. RESOURCE_EXHAUSTED, with nothing changed, when they would pass
  // the reservation (a mistake in admission) or, without one, when the pool has no more to promise.
  absl::Status Take(int64_t pages, std::vector<PageId>* out);
  void Give(std::span<const PageId> pages);

  // Makes `other` a holder of this account's `pages`; the private ones move to the shared ledger
  // with their reservation. Without a reservation this cannot fail; an account that has one keeps
  // it whole and the shared pages are promised on top: RESOURCE_EXHAUSTED, with nothing changed,
  // when that does not fit.
  absl::Status Share(std::span<const PageId> pages, PageAccount* other);
  // A page of this account that no one else may see change. One of the shared ledger becomes
  // private when this account is its last holder. False: others hold it, it must not be written to.
  bool MakeWritable(PageId page);

  PagePool* pool() const { return pool_; }
  int64_t used_bytes() const { return used_bytes_; }
  // Of these, pages in the pool's shared ledger.
  int64_t shared_bytes() const { return shared_bytes_; }
  int64_t private_bytes() const { return used_bytes_ - shared_bytes_; }
  // What the pool holds for this account: max(reservation asked for, private).
  int64_t reserved_bytes() const { return held_bytes_; }

 private:
  // Gives back what is held beyond the reservation asked for and the private pages.
  void LowerHeld();

  PagePool* pool_;
  int64_t asked_bytes_ = 0;
  int64_t held_bytes_ = 0;
  int64_t used_bytes_ = 0;
  int64_t shared_bytes_ = 0;
};

}  // namespace concertina
