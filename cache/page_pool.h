#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace concertina {

using PageId = uint32_t;

// Where the bytes of all sessions' entries live: equal pages of one anonymous mapping. Memory is
// touched only when a page is first used; a freed page is the next one given out, to any session.
//
// Two ledgers, both in bytes:
//   used      pages out x page size. The sum over sessions of SessionCache::used_bytes(), to the
//   byte. reserved  promises made at admission. Reserve() refuses what would take the sum past the
//   capacity.
// Every page of a session is drawn against that session's reservation (PageAccount sees to it; an
// account without a reservation of its own reserves page by page), so used <= reserved <= capacity,
// and a session that stays within its reservation never finds the pool empty. Allocate() itself
// only knows about pages.
//
// Owned by the engine thread.
class PagePool {
 public:
  // Capacity is rounded down to whole pages. INVALID_ARGUMENT when that leaves none or the sizes
  // make no sense, RESOURCE_EXHAUSTED when the address space cannot be mapped.
  static absl::StatusOr<std::unique_ptr<PagePool>> Create(int64_t capacity_bytes,
                                                          int64_t page_bytes);
  ~PagePool();
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  // Appends `pages` ids to `out`, or nothing at all: false when fewer are free. Contents are
  // undefined.
  bool Allocate(int64_t pages, std::vector<PageId>* out);

  // Freeing a page twice, or one never given out, ends the process: it would hand one session's
  // entries to another.
  void Free(std::span<const PageId> pages);

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
  PagePool(uint8_t* base, int64_t capacity_pages, int64_t page_bytes);

  uint8_t* base_;
  int64_t capacity_pages_;
  int64_t page_bytes_;
  int64_t used_pages_ = 0;
  int64_t reserved_bytes_ = 0;
  int64_t untouched_ = 0;      // pages from here on were never given out
  std::vector<PageId> free_;   // last freed first
  std::vector<uint64_t> out_;  // one bit per page: given out
};

}  // namespace concertina
