#include "cache/page_pool.h"

#include <sys/mman.h>

#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "cache/check.h"

namespace concertina {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;

// Not backed by memory until a page is used, and not counted against overcommit: the capacity is a
// cap. Pages never used before are given out in ascending order, so huge pages, which spare decode
// a TLB miss every few entries, cost at most one of them beyond what was in use at a time. Null
// when there is no room.
uint8_t* Map(int64_t bytes) {
  const int64_t mapped = bytes + kHugePage;
  void* memory = mmap(nullptr, static_cast<size_t>(mapped), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return nullptr;
  }
  // The pool begins where a huge page does; the rest before and after it goes back.
  auto* first = static_cast<uint8_t*>(memory);
  const auto before = -reinterpret_cast<uintptr_t>(first) % kHugePage;
  uint8_t* base = first + before;
  if (before > 0) {
    munmap(first, before);
  }
  constexpr int64_t kSmallPage = 4096;
  uint8_t* end = base + (bytes + kSmallPage - 1) / kSmallPage * kSmallPage;
  if (end < first + mapped) {
    munmap(end, static_cast<size_t>(first + mapped - end));
  }
  // A hint: kernels without huge pages refuse it, and nothing depends on it.
  madvise(base, static_cast<size_t>(bytes), MADV_HUGEPAGE);
  return base;
}

// Whole pages of a capacity; INVALID_ARGUMENT when there are none or more than can be numbered.
absl::StatusOr<int64_t> WholePages(int64_t capacity_bytes, int64_t page_bytes) {
  if (page_bytes < 1 || capacity_bytes < page_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a pool of ", capacity_bytes, " bytes holds no page of ", page_bytes));
  }
  const int64_t pages = capacity_bytes / page_bytes;
  if (pages > std::numeric_limits<PageId>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("a pool of ", pages, " pages is too large"));
  }
  return pages;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PagePool>> PagePool::Create(int64_t capacity_bytes,
                                                           int64_t page_bytes) {
  const absl::StatusOr<int64_t> pages = WholePages(capacity_bytes, page_bytes);
  if (!pages.ok()) return pages.status();
  uint8_t* base = Map(*pages * page_bytes);
  if (base == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot map ", *pages * page_bytes, " bytes for the page pool"));
  }
  return std::unique_ptr<PagePool>(new PagePool(base, *pages, page_bytes));
}

absl::StatusOr<std::unique_ptr<PagePool>> PagePool::CreateLedger(int64_t capacity_bytes,
                                                                 int64_t page_bytes) {
  const absl::StatusOr<int64_t> pages = WholePages(capacity_bytes, page_bytes);
  if (!pages.ok()) return pages.status();
  return std::unique_ptr<PagePool>(new PagePool(nullptr, *pages, page_bytes));
}

PagePool::PagePool(uint8_t* base, int64_t capacity_pages, int64_t page_bytes)
    : base_(base), capacity_pages_(capacity_pages), page_bytes_(page_bytes) {}

PagePool::~PagePool() {
  if (base_ != nullptr) munmap(base_, static_cast<size_t>(capacity_bytes()));
}

bool PagePool::Allocate(int64_t pages, std::vector<PageId>* out) {
  CONCERTINA_CHECK(pages >= 0, "a negative number of pages");
  if (pages > capacity_pages_ - used_pages_) {
    return false;
  }
  for (int64_t i = 0; i < pages; ++i) {
    PageId page;
    if (!free_.empty()) {
      page = free_.back();
      free_.pop_back();
    } else {
      page = static_cast<PageId>(pages_.size());
      pages_.push_back({});
    }
    pages_[page] = {.holders = 1, .shared = 0};
    out->push_back(page);
  }
  used_pages_ += pages;
  return true;
}

void PagePool::Free(std::span<const PageId> pages) {
  // Last page first, so that they are given out again in the order they had: pages that were
  // neighbours in memory stay so, and are read as one stream.
  for (size_t i = pages.size(); i-- > 0;) {
    const PageId page = pages[i];
    CONCERTINA_CHECK(page < pages_.size(), "a page that was never given out is freed");
    PageState& state = pages_[page];
    CONCERTINA_CHECK(state.holders > 0, "a page is freed twice");
    if (--state.holders > 0) {
      continue;
    }
    if (state.shared != 0) {
      Unreserve(page_bytes_);
      --shared_pages_;
      state.shared = 0;
    }
    free_.push_back(page);
    --used_pages_;
  }
}

void PagePool::AddHolder(PageId page) {
  CONCERTINA_CHECK(page < pages_.size() && pages_[page].holders > 0, "a free page is shared");
  ++pages_[page].holders;
  shared_pages_ += pages_[page].shared != 0 ? 0 : 1;
  pages_[page].shared = 1;
}

void PagePool::Unshare(PageId page) {
  CONCERTINA_CHECK(page < pages_.size() && pages_[page].holders == 1 && pages_[page].shared != 0,
                   "a page that others hold is taken over");
  pages_[page].shared = 0;
  --shared_pages_;
}

bool PagePool::Reserve(int64_t bytes) {
  CONCERTINA_CHECK(bytes >= 0, "a negative reservation");
  if (bytes > capacity_bytes() - reserved_bytes_) {
    return false;
  }
  reserved_bytes_ += bytes;
  return true;
}

void PagePool::Unreserve(int64_t bytes) {
  CONCERTINA_CHECK(bytes >= 0 && bytes <= reserved_bytes_, "more is unreserved than was reserved");
  reserved_bytes_ -= bytes;
}

}  // namespace concertina
