#include "cache/picture_merge.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace concertina {
namespace {

constexpr uint32_t kMassMax = std::numeric_limits<uint16_t>::max();

// What goes to one kept entry: weighted sums over itself and the others.
class Gathered {
 public:
  Gathered(const HeadEntries& head, const KeyPositions& positions, int32_t anchor)
      : head_(head),
        positions_(positions),
        anchor_(anchor),
        key_(static_cast<size_t>(head.head_dim)),
        k_(key_.size()),
        v_(key_.size()) {
    Add(anchor);
  }

  void Add(int32_t index) {
    const int64_t row = static_cast<int64_t>(index) * head_.head_dim;
    std::copy_n(head_.k + row, key_.size(), key_.begin());
    const int64_t delta =
        positions_.of(positions_.birth[anchor_]) - positions_.of(positions_.birth[index]);
    if (delta != 0) {
      (*positions_.rotate)(key_.data(), delta);
    }
    const double weight = head_.mass[index];
    for (size_t d = 0; d < key_.size(); ++d) {
      k_[d] += weight * static_cast<double>(key_[d]);
      v_[d] += weight * static_cast<double>(head_.v[row + static_cast<int64_t>(d)]);
    }
    mass_ += head_.mass[index];
  }

  void Store(size_t at, MergedHead* merged) const {
    const auto weight = static_cast<double>(mass_);
    for (size_t d = 0; d < key_.size(); ++d) {
      merged->k[at * key_.size() + d] = static_cast<float>(k_[d] / weight);
      merged->v[at * key_.size() + d] = static_cast<float>(v_[d] / weight);
    }
    merged->mass[at] = static_cast<uint16_t>(std::min<uint64_t>(kMassMax, mass_));
  }

 private:
  const HeadEntries& head_;
  const KeyPositions& positions_;
  int32_t anchor_;
  std::vector<float> key_;
  std::vector<double> k_, v_;
  uint64_t mass_ = 0;
};

class PictureMerge {
 public:
  PictureMerge(const HeadEntries& head, std::span<const int32_t> kept, const TurnRules& rules,
               const KeyPositions& positions, MergedHead* merged)
      : head_(head), kept_(kept), rules_(rules), positions_(positions), merged_(merged) {}

  void Merge(const TokenSpan& picture) {
    const int32_t first = IndexOf(picture.first);
    const int32_t end = IndexOf(picture.first + picture.count);
    // Places in `kept` that accept merges.
    std::vector<size_t> open;
    const auto begin = std::lower_bound(kept_.begin(), kept_.end(), first);
    auto last = begin;
    for (; last != kept_.end() && *last < end; ++last) {
      if (Accepts(*last)) {
        open.push_back(static_cast<size_t>(last - kept_.begin()));
      }
    }
    if (open.empty() || last - begin == end - first) {
      return;
    }
    int32_t next = first;
    auto stays = begin;
    for (size_t i = 0; i < open.size(); ++i) {
      // Everything up to the middle between this entry and the next that accepts.
      const int64_t until = i + 1 < open.size() ? (Birth(open[i]) + Birth(open[i + 1])) / 2
                                                : picture.first + picture.count;
      Gathered gathered(head_, positions_, kept_[open[i]]);
      bool any = false;
      for (; next < end && positions_.birth[next] <= until; ++next) {
        if (stays != last && *stays == next) {
          ++stays;
          continue;
        }
        gathered.Add(next);
        any = true;
      }
      if (any) {
        gathered.Store(open[i], merged_);
      }
    }
  }

 private:
  int32_t IndexOf(int64_t birth) const {
    const uint32_t* end = positions_.birth + head_.entries;
    return static_cast<int32_t>(std::lower_bound(positions_.birth, end, birth) - positions_.birth);
  }
  bool Accepts(int32_t index) const {
    return index > 0 && index + 1 < head_.entries && !rules_.Pinned(positions_.birth[index]);
  }
  int64_t Birth(size_t place) const { return positions_.birth[kept_[place]]; }

  const HeadEntries& head_;
  std::span<const int32_t> kept_;
  const TurnRules& rules_;
  const KeyPositions& positions_;
  MergedHead* merged_;
};

}  // namespace

MergedHead MergePictures(const HeadEntries& head, std::span<const int32_t> kept,
                         const TurnRules& rules, const KeyPositions& positions) {
  MergedHead merged = MergeBuckets(head, kept, MergeMode::kNone, /*pure_sink=*/false);
  if (!rules.limits_pictures()) return merged;
  PictureMerge pictures(head, kept, rules, positions, &merged);
  for (const TokenSpan& picture : rules.pictures()) {
    pictures.Merge(picture);
  }
  return merged;
}

}  // namespace concertina
