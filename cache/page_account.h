#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "cache/page_pool.h"

namespace concertina {

// One session's account with the pool: what it reserved and what it uses. Gives the rest of its
// reservation back when destroyed. Owned by the engine thread; the pool must outlive it.
class PageAccount {
 public:
  explicit PageAccount(PagePool* pool) : pool_(pool) {}
  // REQUIRES: every page was given back.
  ~PageAccount();
  PageAccount(const PageAccount&) = delete;
  PageAccount& operator=(const PageAccount&) = delete;

  // Sets the whole reservation to `bytes` (not an increment). Pages in use stay reserved even when
  // `bytes` is less. 0: no reservation of its own, each page is reserved as it is taken and may be
  // refused. RESOURCE_EXHAUSTED, with nothing changed, when the pool cannot promise that much.
  absl::Status Reserve(int64_t bytes);

  // Appends `pages` ids to `out`. RESOURCE_EXHAUSTED, with nothing changed, when they would pass
  // the reservation (a mistake in admission) or, without one, when the pool has no more to promise.
  absl::Status Take(int64_t pages, std::vector<PageId>* out);
  void Give(std::span<const PageId> pages);

  PagePool* pool() const { return pool_; }
  int64_t used_bytes() const { return used_bytes_; }
  // What the pool holds for this account: max(reservation asked for, used).
  int64_t reserved_bytes() const { return held_bytes_; }

 private:
  PagePool* pool_;
  int64_t asked_bytes_ = 0;
  int64_t held_bytes_ = 0;
  int64_t used_bytes_ = 0;
};

}  // namespace concertina
