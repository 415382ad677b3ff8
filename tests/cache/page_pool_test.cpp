#include "cache/page_pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <set>

#include "cache/page_account.h"

namespace concertina {
namespace {

std::unique_ptr<PagePool> Pool(int64_t bytes, int64_t page_bytes) {
  return *PagePool::Create(bytes, page_bytes);
}

TEST(PagePoolTest, RefusesSizesThatMakeNoSense) {
  EXPECT_EQ(PagePool::Create(100, 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(PagePool::Create(100, 101).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(PagePool::Create(-1, 16).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(PagePool::Create(std::numeric_limits<int64_t>::max(), 1).ok());
  EXPECT_FALSE(PagePool::Create(std::numeric_limits<int64_t>::max(), 1 << 20).ok());
}

TEST(PagePoolTest, CapacityIsWholePages) {
  const auto pool = Pool(1000, 96);
  EXPECT_EQ(pool->capacity_bytes(), 960);
  std::vector<PageId> pages;
  EXPECT_TRUE(pool->Allocate(10, &pages));
  EXPECT_EQ(pool->used_bytes(), 960);
  EXPECT_FALSE(pool->Allocate(1, &pages));
  EXPECT_EQ(pages.size(), 10U);
}

TEST(PagePoolTest, AllocatesAllOrNothing) {
  const auto pool = Pool(320, 32);
  std::vector<PageId> pages;
  EXPECT_FALSE(pool->Allocate(11, &pages));
  EXPECT_TRUE(pages.empty());
  EXPECT_EQ(pool->used_bytes(), 0);
}

TEST(PagePoolTest, PagesAreDistinctMemoryAndFreedOnesComeBackFirst) {
  const auto pool = Pool(320, 32);
  std::vector<PageId> pages;
  ASSERT_TRUE(pool->Allocate(10, &pages));
  EXPECT_EQ(std::set<PageId>(pages.begin(), pages.end()).size(), 10U);
  for (const PageId page : pages) {
    std::memset(pool->Data(page), static_cast<int>(page), 32);
  }
  for (const PageId page : pages) {
    EXPECT_EQ(pool->Data(page)[0], page);
    EXPECT_EQ(pool->Data(page)[31], page);
  }
  pool->Free(std::vector<PageId>{pages[3]});
  pool->Free(std::vector<PageId>{pages[7]});
  EXPECT_EQ(pool->used_bytes(), 8 * 32);
  std::vector<PageId> again;
  ASSERT_TRUE(pool->Allocate(2, &again));
  EXPECT_EQ(again, (std::vector<PageId>{pages[7], pages[3]}));
}

TEST(PagePoolDeathTest, FreeingTwiceOrTheUnknownEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto pool = Pool(320, 32);
  std::vector<PageId> pages;
  ASSERT_TRUE(pool->Allocate(2, &pages));
  pool->Free(std::vector<PageId>{pages[0]});
  EXPECT_DEATH(pool->Free(std::vector<PageId>{pages[0]}), "freed twice");
  EXPECT_DEATH(pool->Free(std::vector<PageId>{9}), "never given out");
}

TEST(PagePoolTest, ReservationsNeverPassTheCapacity) {
  const auto pool = Pool(320, 32);
  EXPECT_TRUE(pool->Reserve(300));
  EXPECT_FALSE(pool->Reserve(21));
  EXPECT_TRUE(pool->Reserve(20));
  EXPECT_EQ(pool->reserved_bytes(), 320);
  pool->Unreserve(320);
  EXPECT_EQ(pool->reserved_bytes(), 0);
  EXPECT_FALSE(pool->Reserve(std::numeric_limits<int64_t>::max()));
}

TEST(PageAccountTest, DrawsOnlyAgainstItsReservation) {
  const auto pool = Pool(320, 32);
  PageAccount account(pool.get());
  ASSERT_TRUE(account.Reserve(96).ok());
  std::vector<PageId> pages;
  EXPECT_TRUE(account.Take(3, &pages).ok());
  EXPECT_EQ(account.Take(1, &pages).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(pages.size(), 3U);
  EXPECT_EQ(account.used_bytes(), 96);
  EXPECT_EQ(pool->reserved_bytes(), 96);
  account.Give(pages);
  EXPECT_EQ(pool->reserved_bytes(), 96);
  EXPECT_EQ(pool->used_bytes(), 0);
}

TEST(PageAccountTest, PaysAsItGoesWithoutReservation) {
  const auto pool = Pool(320, 32);
  {
    PageAccount promised(pool.get());
    ASSERT_TRUE(promised.Reserve(256).ok());
    PageAccount free_rider(pool.get());
    std::vector<PageId> pages;
    EXPECT_TRUE(free_rider.Take(2, &pages).ok());
    // Pages are there, but they are promised to the other.
    EXPECT_EQ(free_rider.Take(1, &pages).code(), absl::StatusCode::kResourceExhausted);
    std::vector<PageId> others;
    EXPECT_TRUE(promised.Take(8, &others).ok());
    promised.Give(others);
    free_rider.Give(pages);
    EXPECT_EQ(free_rider.reserved_bytes(), 0);
  }
  EXPECT_EQ(pool->reserved_bytes(), 0);
}

TEST(PageAccountTest, LoweringKeepsWhatIsInUse) {
  const auto pool = Pool(320, 32);
  PageAccount account(pool.get());
  ASSERT_TRUE(account.Reserve(160).ok());
  std::vector<PageId> pages;
  ASSERT_TRUE(account.Take(4, &pages).ok());
  ASSERT_TRUE(account.Reserve(64).ok());
  EXPECT_EQ(pool->reserved_bytes(), 128);
  const std::vector<PageId> half(pages.begin() + 1, pages.end());
  account.Give(half);
  EXPECT_EQ(pool->reserved_bytes(), 64);
  ASSERT_TRUE(account.Reserve(0).ok());
  EXPECT_EQ(pool->reserved_bytes(), 32);
  EXPECT_EQ(account.Reserve(321).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(account.reserved_bytes(), 32);
  account.Give(std::vector<PageId>{pages[0]});
}

TEST(PageAccountTest, ASharedPageIsUsedAndReservedOnce) {
  const auto pool = Pool(320, 32);
  PageAccount child(pool.get());
  std::vector<PageId> pages;
  {
    PageAccount parent(pool.get());
    ASSERT_TRUE(parent.Take(4, &pages).ok());
    const std::vector<PageId> two(pages.begin(), pages.begin() + 2);
    ASSERT_TRUE(parent.Share(two, &child).ok());
    EXPECT_EQ(parent.used_bytes(), 128);
    EXPECT_EQ(parent.shared_bytes(), 64);
    EXPECT_EQ(parent.reserved_bytes(), 64);
    EXPECT_EQ(child.used_bytes(), 64);
    EXPECT_EQ(child.reserved_bytes(), 0);
    EXPECT_EQ(pool->shared_bytes(), 64);
    EXPECT_EQ(pool->used_bytes(), 128);
    EXPECT_EQ(pool->reserved_bytes(), 128);
    EXPECT_FALSE(child.MakeWritable(two[0]));
    parent.Give(pages);
  }
  EXPECT_EQ(pool->used_bytes(), 64);
  EXPECT_EQ(pool->reserved_bytes(), 64);
  // The last holder may write to it, and reserves it itself from then on.
  EXPECT_TRUE(child.MakeWritable(pages[0]));
  EXPECT_TRUE(child.MakeWritable(pages[0]));
  EXPECT_EQ(child.shared_bytes(), 32);
  EXPECT_EQ(child.reserved_bytes(), 32);
  EXPECT_EQ(pool->reserved_bytes(), 64);
  child.Give(std::vector<PageId>{pages[0], pages[1]});
  EXPECT_EQ(pool->used_bytes() + pool->reserved_bytes() + pool->shared_bytes(), 0);
}

TEST(PageAccountTest, SharingBesideAReservationIsPromisedOnTop) {
  const auto pool = Pool(320, 32);
  PageAccount parent(pool.get());
  PageAccount child(pool.get());
  std::vector<PageId> pages;
  ASSERT_TRUE(parent.Reserve(256).ok());
  ASSERT_TRUE(parent.Take(3, &pages).ok());
  EXPECT_EQ(parent.Share(pages, &child).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(child.used_bytes() + pool->shared_bytes(), 0);
  EXPECT_EQ(pool->reserved_bytes(), 256);
  ASSERT_TRUE(parent.Share(std::vector<PageId>{pages[0], pages[1]}, &child).ok());
  EXPECT_EQ(parent.reserved_bytes(), 256);
  EXPECT_EQ(pool->reserved_bytes(), 320);
  // Taking its own copies of what it shared, the parent still has all it was promised.
  std::vector<PageId> own;
  ASSERT_TRUE(parent.Take(7, &own).ok());
  EXPECT_EQ(parent.Take(1, &own).code(), absl::StatusCode::kResourceExhausted);
  // Where the reservation covers a page anyway, taking it over lets the shared promise lapse.
  child.Give(std::vector<PageId>{pages[0]});
  parent.Give(own);
  EXPECT_TRUE(parent.MakeWritable(pages[0]));
  EXPECT_EQ(pool->reserved_bytes(), 288);
  child.Give(std::vector<PageId>{pages[1]});
  parent.Give(pages);
}

}  // namespace
}  // namespace concertina
