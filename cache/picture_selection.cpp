#include "cache/picture_selection.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

#include "cache/check.h"
#include "cache/layer_shares.h"

namespace concertina {
namespace {

// A head's entries, sorted out; indices ascend.
struct HeadPictures {
  std::vector<int32_t> fixed;
  std::vector<int32_t> text;                   // not fixed, nor of a picture
  std::vector<std::vector<int32_t>> pictures;  // not fixed, of each picture
  std::vector<int32_t> may_keep;               // of these, by picture
};

HeadPictures SortPictures(const BirthOf& birth, int32_t entries, const TurnRules& rules) {
  CONCERTINA_CHECK(rules.fold() == TurnFold::kRefold, "pictures' budgets are for refolded turns");
  HeadTurns turns = SortOut(birth, entries, birth(entries - 1) + 1, rules);
  HeadPictures head{.fixed = std::move(turns.fixed)};
  const std::vector<int32_t> others =
      turns.groups.empty() ? std::vector<int32_t>() : std::move(turns.groups.front());
  const auto end_of = [&](std::span<const int32_t> indices, int64_t before) {
    return std::partition_point(indices.begin(), indices.end(),
                                [&](int32_t index) { return birth(index) < before; }) -
           indices.begin();
  };
  size_t next = 0;
  for (const TokenSpan& picture : rules.pictures()) {
    const auto first = static_cast<size_t>(end_of(others, picture.first));
    const auto after = static_cast<size_t>(end_of(others, picture.first + picture.count));
    head.text.insert(head.text.end(), others.begin() + next, others.begin() + first);
    head.pictures.emplace_back(others.begin() + first, others.begin() + after);
    next = after;
    const auto fixed = static_cast<int32_t>(end_of(head.fixed, picture.first + picture.count) -
                                            end_of(head.fixed, picture.first));
    const auto free = static_cast<int32_t>(after - first);
    head.may_keep.push_back(std::clamp(rules.MostOf(picture) - fixed, 0, free));
  }
  head.text.insert(head.text.end(), others.begin() + next, others.end());
  return head;
}

// How many of `total` entries are each picture's, in proportion to what it may keep.
std::vector<int32_t> PictureParts(std::span<const int32_t> may_keep, int64_t total) {
  std::vector<double> weights;
  std::vector<int32_t> holds;
  for (const int32_t most : may_keep) {
    if (most > 0) {
      weights.push_back(most);
      holds.push_back(most);
    }
  }
  LayerSplit split(weights);
  split.floor = 0;
  const std::vector<int32_t> shares =
      holds.empty() ? std::vector<int32_t>() : LayerShares(total, split, holds);
  std::vector<int32_t> parts;
  auto share = shares.begin();
  for (const int32_t most : may_keep) {
    parts.push_back(most > 0 ? *share++ : 0);
  }
  return parts;
}

// The `count` of `candidates` that come first in `order`.
void TakeBest(std::vector<int32_t> candidates, int32_t count, std::span<const uint64_t> order,
              std::vector<int32_t>* kept) {
  const auto end = candidates.begin() + count;
  std::nth_element(candidates.begin(), end, candidates.end(),
                   [&](int32_t a, int32_t b) { return order[a] < order[b]; });
  kept->insert(kept->end(), candidates.begin(), end);
}

void TakeOfPicture(const TokenSpan& picture, std::span<const int32_t> candidates, int32_t count,
                   std::span<const uint64_t> order, const BirthOf& birth,
                   std::vector<int32_t>* kept) {
  // By place in the picture; -1: not there, or taken.
  std::vector<int32_t> at(static_cast<size_t>(picture.count), -1);
  for (const int32_t index : candidates) {
    at[birth(index) - picture.first] = index;
  }
  int32_t spread = (count + 1) / 2;
  for (const int32_t place : EvenOrder(static_cast<int32_t>(picture.count))) {
    if (spread == 0) {
      break;
    }
    if (const int32_t index = std::exchange(at[place], -1); index >= 0) {
      kept->push_back(index);
      --spread;
    }
  }
  at.erase(std::remove(at.begin(), at.end(), -1), at.end());
  TakeBest(std::move(at), count / 2, order, kept);
}

}  // namespace

std::vector<int32_t> EvenOrder(int32_t count) {
  // Places in an order of twice as many or fewer, of which several may fall together.
  const auto bits = static_cast<int>(std::bit_width(static_cast<uint32_t>(std::max(count, 1) - 1)));
  std::vector<int32_t> order;
  std::vector<bool> taken(static_cast<size_t>(count));
  for (uint32_t i = 0; i < (1U << bits) && static_cast<int32_t>(order.size()) < count; ++i) {
    uint64_t reversed = 0;
    for (int bit = 0; bit < bits; ++bit) {
      reversed |= static_cast<uint64_t>((i >> bit) & 1U) << (bits - 1 - bit);
    }
    const auto place = static_cast<int32_t>(reversed * static_cast<uint64_t>(count) >> bits);
    if (!taken[place]) {
      taken[place] = true;
      order.push_back(place);
    }
  }
  return order;
}

std::vector<int32_t> SelectWithPictures(std::span<const uint64_t> order, const BirthOf& birth,
                                        int32_t keep, const TurnRules& rules) {
  HeadPictures head = SortPictures(birth, static_cast<int32_t>(order.size()), rules);
  const int64_t rest = keep - static_cast<int64_t>(head.fixed.size());
  CONCERTINA_CHECK(rest >= 0, "a share is below what is pinned");
  const auto text = static_cast<int64_t>(head.text.size());
  const auto wanted = std::accumulate(head.may_keep.begin(), head.may_keep.end(), int64_t{0});
  const int64_t of_pictures = std::min(wanted, std::max(rest - text, rest / 2));
  const std::vector<int32_t> parts = PictureParts(head.may_keep, of_pictures);
  std::vector<int32_t> kept = std::move(head.fixed);
  for (size_t i = 0; i < parts.size(); ++i) {
    TakeOfPicture(rules.pictures()[i], head.pictures[i], parts[i], order, birth, &kept);
  }
  TakeBest(std::move(head.text), static_cast<int32_t>(std::min(text, rest - of_pictures)), order,
           &kept);
  std::sort(kept.begin(), kept.end());
  return kept;
}

int32_t EntriesOverImageBudget(int64_t first, int32_t tokens, const TurnRules& rules) {
  if (!rules.limits_pictures()) {
    return 0;
  }
  // Of the head's entries before the prompt, the first is the one that tells.
  const int32_t before = first > 0 ? 1 : 0;
  const HeadPictures head = SortPictures(
      [&](int32_t index) { return index < before ? int64_t{0} : first + index - before; },
      before + tokens, rules);
  int32_t over = 0;
  for (size_t i = 0; i < head.pictures.size(); ++i) {
    over += static_cast<int32_t>(head.pictures[i].size()) - head.may_keep[i];
  }
  return over;
}

}  // namespace concertina
