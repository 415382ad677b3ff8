// Groups on their way through images and pages.

#include "cache/precision/group_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "cache/precision/small_scale.h"
#include "session_driver.h"

namespace concertina {
namespace {

using testing::MakePool;

constexpr CacheShape kShape{.layers = 1, .kv_heads = 1, .head_dim = 64};
constexpr int64_t kDim = 64;

struct Entries {
  explicit Entries(int32_t count, uint32_t seed = 1)
      : k(static_cast<size_t>(count * kDim)), v(k.size()) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (float& x : k) x = normal(random);
    for (float& x : v) x = normal(random);
    for (int32_t i = 0; i < count; ++i) {
      list.push_back({.birth = static_cast<uint32_t>(10 * i + 3),
                      .score = static_cast<uint16_t>(i),
                      .k = k.data() + i * kDim,
                      .v = v.data() + i * kDim});
    }
  }
  std::vector<float> k, v;
  std::vector<GroupEntry> list;
};

int Members(const std::vector<GroupImage>& images) {
  return std::accumulate(images.begin(), images.end(), 0,
                         [](int sum, const GroupImage& image) { return sum + image.members(); });
}

// Where the entry with this birth lies.
std::pair<int32_t, int32_t> Find(const std::vector<GroupImage>& images, uint32_t birth) {
  for (size_t g = 0; g < images.size(); ++g) {
    for (int i = 0; i < kGroupEntries; ++i) {
      if ((images[g].present >> i & 1U) != 0 && images[g].births[i] == birth) {
        return {static_cast<int32_t>(g), i};
      }
    }
  }
  return {-1, -1};
}

std::vector<float> KeyOf(const GroupKinds& kinds, const GroupImage& image, int index) {
  std::vector<float> k(kDim);
  LoadGroupKey(kinds[image.kind], image.codes.data(), index, k.data());
  return k;
}

class GroupStoreTest : public ::testing::Test {
 protected:
  // The entries that `keep` says of, as they lie in `images`.
  template <typename Keep>
  std::vector<GroupEntry> Rest(const Entries& all, const std::vector<GroupImage>& images,
                               Keep keep) {
    std::vector<GroupEntry> rest;
    for (size_t i = 0; i < all.list.size(); ++i) {
      if (!keep(i)) continue;
      rest.push_back(all.list[i]);
      std::tie(rest.back().group, rest.back().index) = Find(images, all.list[i].birth);
    }
    return rest;
  }

  GroupKinds kinds_{kDim};
};

TEST_F(GroupStoreTest, NewEntriesGoToAsManyGroupsAsTheyNeed) {
  for (const int32_t count : {1, 31, 32, 33, 64, 100}) {
    const Entries entries(count);
    const int32_t groups = (count + 31) / 32;
    const auto images = PackGroups(kinds_, 2, entries.list, {}, groups);
    ASSERT_EQ(images.size(), static_cast<size_t>(groups));
    ASSERT_EQ(Members(images), count);
    for (const GroupEntry& entry : entries.list) {
      const auto [g, i] = Find(images, entry.birth);
      ASSERT_GE(g, 0);
      ASSERT_EQ(images[g].scores[i], entry.score);
    }
  }
}

TEST_F(GroupStoreTest, GroupsAreTheSameWhoeverRoundsThemInWhicheverOrder) {
  const Entries entries(100);
  const auto expected = PackGroups(kinds_, 2, entries.list, {}, 4);
  int64_t run = 0;
  const auto images = PackGroups(kinds_, 2, entries.list, {}, 4, KeyFeedback(),
                                 [&](int64_t tasks, absl::FunctionRef<void(int64_t)> task) {
                                   for (; tasks > 0; ++run) task(--tasks);
                                 });
  EXPECT_EQ(run, 4);
  ASSERT_EQ(images.size(), expected.size());
  for (size_t g = 0; g < images.size(); ++g) {
    EXPECT_EQ(images[g].codes, expected[g].codes);
    EXPECT_EQ(images[g].births, expected[g].births);
    EXPECT_EQ(images[g].scores, expected[g].scores);
  }
}

TEST_F(GroupStoreTest, WhatStaysInItsKindIsNotRoundedAgain) {
  const Entries entries(128);
  const auto old = PackGroups(kinds_, 2, entries.list, {}, 4);
  // Every eighth goes, and there is room for four groups still.
  const auto rest = Rest(entries, old, [](size_t i) { return i % 8 != 0; });
  const auto images = PackGroups(kinds_, 2, rest, old, 4);
  ASSERT_EQ(Members(images), 112);
  for (const GroupEntry& entry : rest) {
    const auto [g, i] = Find(images, entry.birth);
    ASSERT_EQ(KeyOf(kinds_, images[g], i), KeyOf(kinds_, old[entry.group], entry.index));
  }
}

TEST_F(GroupStoreTest, TheEmptiestGroupsAreGivenUpWhenRoomIsShort) {
  const Entries entries(128);
  const auto old = PackGroups(kinds_, 2, entries.list, {}, 4);
  // 30, 28, 20 and 18 stay: in three groups, the last two are rounded again, most of them together
  // and six in holes of the others.
  const int left[] = {30, 28, 20, 18};
  const auto rest =
      Rest(entries, old, [&](size_t i) { return static_cast<int>(i % 32) < left[i / 32]; });
  const auto images = PackGroups(kinds_, 2, rest, old, 4);
  EXPECT_EQ(images.size(), 4U);
  const auto tight = PackGroups(kinds_, 2, rest, old, 3);
  ASSERT_EQ(tight.size(), 3U);
  ASSERT_EQ(Members(tight), 96);
  for (const GroupEntry& entry : rest) {
    const auto [g, i] = Find(tight, entry.birth);
    ASSERT_GE(g, 0);
    if (entry.group > 1) continue;
    // As it was, but for channels whose grid was widened for those in holes.
    const std::vector<float> now = KeyOf(kinds_, tight[g], i);
    const std::vector<float> before = KeyOf(kinds_, old[entry.group], entry.index);
    const uint8_t* scales = tight[g].codes.data() + kinds_[2].key_scales();
    const uint8_t* old_scales = old[entry.group].codes.data() + kinds_[2].key_scales();
    for (size_t c = 0; c < now.size(); ++c) {
      const bool widened = scales[c] != old_scales[c];
      ASSERT_NEAR(now[c], before[c], widened ? 0.501F * FromSmallScale(scales[c]) : 0.0F);
    }
  }
}

TEST_F(GroupStoreTest, AnotherKindIsRoundedFromWhatWasStored) {
  const Entries entries(32);
  const auto old = PackGroups(kinds_, 0, entries.list, {}, 1);
  const auto lower = PackGroups(kinds_, 2, Rest(entries, old, [](size_t) { return true; }), old, 1);
  ASSERT_EQ(lower.front().kind, 2);
  std::vector<float> k(32 * kDim);
  std::vector<float> v(32 * kDim);
  LoadGroupKeys(kinds_[0], old.front().codes.data(), 32, k.data());
  LoadGroupValues(kinds_[0], old.front().codes.data(), 32, v.data());
  std::vector<uint8_t> expected(static_cast<size_t>(kinds_[2].bytes()));
  QuantiseGroup(kinds_[2], k.data(), v.data(), 32, expected.data());
  EXPECT_EQ(lower.front().codes, expected);
}

class StoredTest : public GroupStoreTest {
 protected:
  std::vector<PageId> Take(int64_t count) {
    std::vector<PageId> pages;
    EXPECT_TRUE(account_.Take(count, &pages).ok());
    return pages;
  }
  void Store(const std::vector<GroupImage>& images, bool long_births, bool apart) {
    int64_t bytes = 0;
    for (const GroupImage& image : images) {
      bytes += GroupStore::RecordBytes(kinds_[image.kind], long_births);
    }
    std::vector<PageId> pages = Take((bytes + page_ - 1) / page_);
    if (apart) std::reverse(pages.begin(), pages.end());
    store_.Store(images, long_births, pages, *pool_);
  }
  void TearDown() override {
    store_.ReleaseAll(&account_);
    EXPECT_EQ(pool_->used_bytes(), 0);
  }

  const int64_t page_ = PageBytesFor(kShape);
  std::unique_ptr<PagePool> pool_ = MakePool(400, kShape);
  PageAccount account_{pool_.get()};
  GroupStore store_{&kinds_, page_};
};

TEST_F(StoredTest, ComesBackAsItWas) {
  const Entries many(90);
  const Entries few(20, 7);
  for (const bool long_births : {false, true}) {
    for (const bool apart : {false, true}) {
      std::vector<GroupImage> images = PackGroups(kinds_, 1, many.list, {}, 3);
      for (GroupImage& image : PackGroups(kinds_, 2, few.list, {}, 1)) {
        images.push_back(std::move(image));
      }
      if (long_births) images.front().births[0] = 1 << 20;
      Store(images, long_births, apart);
      EXPECT_EQ(store_.entries(), 110);
      EXPECT_EQ(store_.slots(), 128 + 64);
      EXPECT_EQ(store_.payload_bytes(), 3 * kinds_[1].bytes() + kinds_[2].bytes());
      const auto back = store_.Images();
      ASSERT_EQ(back.size(), images.size());
      store_.BeginLive();
      for (size_t g = 0; g < images.size(); ++g) {
        ASSERT_EQ(back[g].codes, images[g].codes);
        ASSERT_EQ(back[g].present, images[g].present);
        const GroupStore::Packed packed = store_.packed(g < 3 ? 0 : 1);
        ASSERT_EQ(packed.count, g < 3 ? 3 : 1);
        const uint8_t* address = packed.groups[g < 3 ? g : 0];
        ASSERT_TRUE(std::equal(images[g].codes.begin(), images[g].codes.end(), address));
        for (int i = 0; i < kGroupEntries; ++i) {
          const int32_t slot = store_.SlotOf(static_cast<int32_t>(g), i);
          ASSERT_EQ(store_.Has(slot), (images[g].present >> i & 1U) != 0);
          if (!store_.Has(slot)) continue;
          ASSERT_EQ(store_.Meta(slot).birth, images[g].births[i]);
          ASSERT_EQ(store_.Meta(slot).score, images[g].scores[i]);
        }
      }
      store_.ReleaseAll(&account_);
    }
  }
}

TEST_F(StoredTest, HolesAreFilledWhereTheKernelReads) {
  for (const bool apart : {false, true}) {
    const Entries entries(64);
    Store(PackGroups(kinds_, 2, entries.list, {}, 2), false, apart);
    store_.BeginLive();
    const int32_t slot = store_.SlotOf(1, 7);
    store_.Remove(slot);
    EXPECT_EQ(store_.holes(GroupOrigin::kFold), 1);
    EXPECT_EQ(store_.Hole(GroupOrigin::kFold), slot);
    store_.Put(slot, entries.k.data(), entries.v.data(), {.birth = 999, .score = 5, .mass = 1});
    EXPECT_EQ(store_.Hole(GroupOrigin::kFold), -1);
    EXPECT_EQ(store_.Meta(slot).birth, 999U);
    std::vector<float> there(kDim);
    std::vector<float> read(kDim);
    store_.LoadValue(slot, there.data());
    LoadGroupValue(kinds_[2], store_.packed(1).groups[1], 7, read.data());
    EXPECT_EQ(there, read);
    Entries alone(1);
    std::copy_n(entries.v.begin(), kDim, alone.v.begin());
    const auto image = PackGroups(kinds_, 2, alone.list, {}, 1);
    LoadGroupValue(kinds_[2], image.front().codes.data(), 0, read.data());
    EXPECT_EQ(there, read) << "a value has a grid of its own";
    store_.ReleaseAll(&account_);
  }
}

}  // namespace
}  // namespace concertina
