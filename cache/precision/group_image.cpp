#include "cache/precision/group_image.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "cache/check.h"

namespace concertina {
namespace {

// What is left of an old group.
struct Remainder {
  int32_t group;
  uint32_t present;
};

// Which old groups go on, so that there are new ones for all entries that are in none.
std::vector<Remainder> GoingOn(std::span<const GroupEntry> entries, std::span<const GroupImage> old,
                               int kind, int32_t groups) {
  std::vector<Remainder> left;
  for (size_t i = 0; i < old.size(); ++i) left.push_back({static_cast<int32_t>(i), 0});
  int64_t exact = 0;
  for (const GroupEntry& entry : entries) {
    if (entry.group >= 0 && old[entry.group].kind == kind) {
      left[entry.group].present |= 1U << entry.index;
    }
    exact += entry.group < 0 ? 1 : 0;
  }
  std::erase_if(left, [](const Remainder& group) { return group.present == 0; });
  std::stable_sort(left.begin(), left.end(), [](const Remainder& a, const Remainder& b) {
    return std::popcount(a.present) > std::popcount(b.present);
  });
  while (static_cast<int64_t>(left.size()) * kGroupEntries + exact >
         int64_t{groups} * kGroupEntries) {
    CONCERTINA_CHECK(!left.empty(), "more entries than their groups have room for");
    left.pop_back();
  }
  std::sort(left.begin(), left.end(),
            [](const Remainder& a, const Remainder& b) { return a.group < b.group; });
  return left;
}

// The rows of entries that are quantised together.
class Rows {
 public:
  Rows(const GroupKinds& kinds, std::span<const GroupImage> old, const KeyFeedback& feedback)
      : kinds_(kinds), old_(old), feedback_(feedback) {}

  GroupImage Quantise(int kind, std::span<const GroupEntry* const> entries) {
    const GroupLayout& layout = kinds_[kind];
    const auto d = static_cast<size_t>(layout.head_dim());
    k_.resize(entries.size() * d);
    v_.resize(entries.size() * d);
    GroupImage image{.kind = kind,
                     .origin = GroupOrigin::kFold,
                     .present = 0,
                     .codes = {},
                     .births = {},
                     .scores = {}};
    for (size_t i = 0; i < entries.size(); ++i) {
      const GroupEntry& entry = *entries[i];
      Load(entry, k_.data() + i * d, v_.data() + i * d, d);
      image.present |= 1U << i;
      image.births[i] = entry.birth;
      image.scores[i] = entry.score;
    }
    image.codes.resize(static_cast<size_t>(layout.bytes()));
    QuantiseGroup(layout, k_.data(), v_.data(), static_cast<int>(entries.size()),
                  image.codes.data(), feedback_);
    return image;
  }

  void FillHoles(std::span<const GroupEntry* const> entries, std::vector<GroupImage>* images) {
    size_t at = 0;
    for (GroupImage& image : *images) {
      const GroupLayout& layout = kinds_[image.kind];
      k_.resize(static_cast<size_t>(layout.head_dim()));
      v_.resize(k_.size());
      while (~image.present != 0 && at < entries.size()) {
        const GroupEntry& entry = *entries[at++];
        const int hole = std::countr_one(image.present);
        Load(entry, k_.data(), v_.data(), k_.size());
        PutInGroup(layout, hole, k_.data(), v_.data(), image.present, image.codes.data());
        image.present |= 1U << hole;
        image.births[hole] = entry.birth;
        image.scores[hole] = entry.score;
      }
    }
    CONCERTINA_CHECK(at == entries.size(), "more entries than their groups have room for");
  }

 private:
  void Load(const GroupEntry& entry, float* k, float* v, size_t d) const {
    if (entry.group < 0) {
      std::memcpy(k, entry.k, d * sizeof(float));
      std::memcpy(v, entry.v, d * sizeof(float));
      return;
    }
    const GroupImage& from = old_[static_cast<size_t>(entry.group)];
    LoadGroupKey(kinds_[from.kind], from.codes.data(), entry.index, k);
    LoadGroupValue(kinds_[from.kind], from.codes.data(), entry.index, v);
  }

  const GroupKinds& kinds_;
  std::span<const GroupImage> old_;
  const KeyFeedback& feedback_;
  std::vector<float> k_, v_;
};

// Takes out what is beyond `room`, of entries that were rounded before.
std::vector<const GroupEntry*> TakeSurplus(size_t room, std::vector<const GroupEntry*>* entries) {
  size_t surplus = entries->size() - std::min(entries->size(), room);
  std::vector<const GroupEntry*> taken;
  std::erase_if(*entries, [&](const GroupEntry* entry) {
    if (surplus == 0 || entry->group < 0) return false;
    taken.push_back(entry);
    --surplus;
    return true;
  });
  CONCERTINA_CHECK(surplus == 0, "entries not rounded yet are more than their groups take");
  return taken;
}

}  // namespace

std::vector<GroupImage> PackGroups(const GroupKinds& kinds, int kind,
                                   std::span<const GroupEntry> entries,
                                   std::span<const GroupImage> old, int32_t groups,
                                   const KeyFeedback& feedback, RunTasks run) {
  std::vector<GroupImage> images;
  std::vector<int32_t> image_of(old.size(), -1);
  for (const Remainder& left : GoingOn(entries, old, kind, groups)) {
    image_of[left.group] = static_cast<int32_t>(images.size());
    images.push_back(old[left.group]);
    images.back().present = left.present;
  }
  std::vector<const GroupEntry*> fresh;
  for (const GroupEntry& entry : entries) {
    const int32_t image =
        entry.group >= 0 && old[entry.group].kind == kind ? image_of[entry.group] : -1;
    if (image >= 0) {
      images[image].scores[entry.index] = entry.score;
    } else {
      fresh.push_back(&entry);
    }
  }
  const auto count = static_cast<size_t>(groups) - images.size();
  Rows(kinds, old, feedback).FillHoles(TakeSurplus(count * kGroupEntries, &fresh), &images);
  // Groups as even as can be, in birth order.
  const std::span<const GroupEntry* const> all(fresh);
  const size_t old_images = images.size();
  images.resize(old_images + count);
  run(static_cast<int64_t>(count), [&](int64_t task) {
    const auto i = static_cast<size_t>(task);
    const size_t begin = all.size() * i / count;
    const size_t end = all.size() * (i + 1) / count;
    images[old_images + i] =
        Rows(kinds, old, feedback).Quantise(kind, all.subspan(begin, end - begin));
  });
  return images;
}

}  // namespace concertina
