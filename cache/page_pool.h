#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace concertina {

using PageId = uint32_t;

// Where the bytes of all sessions' entries live: equal pages of one anonymous mapping. Memory is
// touched only when a page is first used; a freed page is the next one given out, to any session.
//
// Ledgers, all in bytes:
//   used      pages out x page size, a page in common counted once
//   shared    of these, pages that forks have in common. used == shared + the sum of every
//             PageAccount's private_bytes(), to the byte
//   reserved  promises: the sum of every PageAccount's reserved_bytes(), plus shared. Reserve()
//             refuses what would take it past the capacity
// A page is drawn against the reservation of the account that took it (an account without one
// reserves page by page). When it becomes shared, its reservation passes to the pool, which keeps
// it until the last holder gives the page back. So used <= reserved <= capacity, and a session that
// stays within its reservation never finds the pool empty. Allocate() itself only knows about
// pages.
//
// Owned by the engine thread, but for what PageAccount does under lock().
class PagePool {
 public:
  // Capacity is rounded down to whole pages. INVALID_ARGUMENT when that leaves none or the sizes
  // make no sense, RESOURCE_EXHAUSTED when the address space cannot be mapped.
  static absl::StatusOr<std::unique_ptr<PagePool>> Create(int64_t capacity_bytes,
                                                          int64_t page_bytes);
  // The same books for pages that lie elsewhere, on another device: without memory, so without
  // Data().
  static absl::StatusOr<std::unique_ptr<PagePool>> CreateLedger(int64_t capacity_bytes,
                                                                int64_t page_bytes);
  ~PagePool();
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  // Held while accounts take or give back pages: heads evict side by side.
  std::mutex& lock() { return lock_; }

  // Appends `pages` ids to `out`, or nothing at all: false when fewer are free. Contents are
  // undefined.
  bool Allocate(int64_t pages, std::vector<PageId>* out);

  // Drops one holder of each page; the last one's page is free again, and if it was shared its
  // reservation lapses. Freeing a page twice, or one never given out, ends the process: it would
  // hand one session's entries to another.
  void Free(std::span<const PageId> pages);

  // --- pages in common ---
  // Adds a holder. The first time, the page moves to the shared ledger; its reservation stays in
  // reserved_bytes() and is the pool's from now on. REQUIRES: given out.
  void AddHolder(PageId page);
  // Takes a page out of the shared ledger; its reservation is the caller's again.
  // REQUIRES: in_shared_ledger(page), one holder.
  void Unshare(PageId page);
  // Only a page with one holder may be written to.
  uint32_t holders(PageId page) const { return pages_[page].holders; }
  bool in_shared_ledger(PageId page) const { return pages_[page].shared != 0; }
  int64_t shared_bytes() const { return shared_pages_ * page_bytes_; }

  // page_bytes() bytes, aligned to 16 when the page size is. Stays valid until the page is freed.
  uint8_t* Data(PageId page) { return base_ + static_cast<int64_t>(page) * page_bytes_; }
  const uint8_t* Data(PageId page) const {
    return base_ + static_cast<int64_t>(page) * page_bytes_;
  }

  int64_t page_bytes() const { return page_bytes_; }
  int64_t capacity_bytes() const { return capacity_pages_ * page_bytes_; }
  int64_t used_bytes() const { return used_pages_ * page_bytes_; }
  int64_t reserved_bytes() const { return reserved_bytes_; }

  // Promises `bytes` more, or refuses (false) when reserved_bytes() would pass the capacity.
  bool Reserve(int64_t bytes);
  // REQUIRES: 0 <= bytes <= reserved_bytes().
  void Unreserve(int64_t bytes);

 private:
  struct PageState {
    uint32_t holders : 31;  // 0: free
    uint32_t shared : 1;    // in the shared ledger
  };

  PagePool(uint8_t* base, int64_t capacity_pages, int64_t page_bytes);

  uint8_t* base_;  // null: a ledger
  int64_t capacity_pages_;
  int64_t page_bytes_;
  int64_t used_pages_ = 0;
  int64_t shared_pages_ = 0;
  int64_t reserved_bytes_ = 0;
  std::vector<PageId> free_;      // last freed first
  std::vector<PageState> pages_;  // of every page ever given out
  std::mutex lock_;
};

}  // namespace concertina
