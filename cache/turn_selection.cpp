#include "cache/turn_selection.h"

#include <algorithm>
#include <numeric>

#include "cache/check.h"
#include "cache/layer_shares.h"

namespace concertina {
namespace {

// The first entry that is not older than `birth`.
int32_t IndexOf(const BirthOf& birth_of, int32_t entries, int64_t birth) {
  int32_t low = 0;
  int32_t high = entries;
  while (low < high) {
    const int32_t middle = low + (high - low) / 2;
    if (birth_of(middle) < birth) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

std::vector<int32_t> Fixed(const BirthOf& birth, int32_t entries, const TurnRules& rules) {
  std::vector<int32_t> fixed = {0};
  for (const TokenSpan& pin : rules.pins()) {
    const int32_t end = IndexOf(birth, entries, pin.first + pin.count);
    for (int32_t i = std::max(IndexOf(birth, entries, pin.first), 1); i < end; ++i) {
      fixed.push_back(i);
    }
  }
  if (fixed.back() != entries - 1) {
    fixed.push_back(entries - 1);
  }
  return fixed;
}

// Where one group ends and the next begins: the first token of each, the oldest 0.
std::vector<int64_t> GroupStarts(const TurnRules& rules) {
  const std::span<const int64_t> turns = rules.turn_starts();
  std::vector<int64_t> starts = {0};
  if (rules.fold() == TurnFold::kFair && turns.size() > 1) {
    starts.insert(starts.end(), turns.begin() + 1, turns.end());
  } else if (rules.fold() == TurnFold::kIsolate && turns.size() > 1) {
    starts.push_back(turns.back());
  }
  return starts;
}

std::vector<int32_t> Without(int32_t first, int32_t end, std::span<const int32_t> fixed) {
  std::vector<int32_t> others;
  auto skip = std::lower_bound(fixed.begin(), fixed.end(), first);
  for (int32_t i = first; i < end; ++i) {
    if (skip != fixed.end() && *skip == i) {
      ++skip;
    } else {
      others.push_back(i);
    }
  }
  return others;
}

std::vector<int32_t> IsolatedQuotas(const HeadTurns& head, int64_t rest, int64_t seen) {
  const auto earlier = static_cast<int64_t>(head.groups[0].size());
  const auto present = static_cast<int64_t>(head.groups[1].size());
  const auto tokens = static_cast<int64_t>(head.tokens[1]);
  const int64_t least = std::min(present, rest * tokens / (2 * seen));
  const int64_t kept = std::min(earlier, rest - least);
  return {static_cast<int32_t>(kept), static_cast<int32_t>(rest - kept)};
}

}  // namespace

HeadTurns SortOut(const BirthOf& birth, int32_t entries, int64_t seen, const TurnRules& rules) {
  HeadTurns head{.fixed = Fixed(birth, entries, rules)};
  const std::vector<int64_t> starts = GroupStarts(rules);
  for (size_t group = 0; group < starts.size(); ++group) {
    const bool last = group + 1 == starts.size();
    const int64_t after = last ? seen : starts[group + 1];
    const int32_t first = group == 0 ? 0 : IndexOf(birth, entries, starts[group]);
    std::vector<int32_t> others =
        Without(first, last ? entries : IndexOf(birth, entries, after), head.fixed);
    if (!others.empty()) {
      head.present = last;
      head.groups.push_back(std::move(others));
      head.tokens.push_back(static_cast<double>(after - starts[group]));
    }
  }
  return head;
}

std::vector<int32_t> Quotas(const HeadTurns& head, int64_t rest, int64_t seen, TurnFold fold) {
  std::vector<int32_t> holds;
  for (const std::vector<int32_t>& group : head.groups) {
    holds.push_back(static_cast<int32_t>(group.size()));
  }
  if (holds.size() < 2) {
    return std::vector<int32_t>(holds.size(), static_cast<int32_t>(rest));
  }
  if (fold == TurnFold::kIsolate) {
    return IsolatedQuotas(head, rest, seen);
  }
  LayerSplit split(head.tokens);
  split.floor = 0;
  return LayerShares(rest, split, holds);
}

std::vector<int32_t> SelectByTurns(std::span<const uint64_t> order, const BirthOf& birth,
                                   int32_t keep, int64_t seen, const TurnRules& rules) {
  HeadTurns head = SortOut(birth, static_cast<int32_t>(order.size()), seen, rules);
  const int64_t rest = keep - static_cast<int64_t>(head.fixed.size());
  CONCERTINA_CHECK(rest >= 0, "a share is below what is pinned");
  const std::vector<int32_t> quotas = Quotas(head, rest, seen, rules.fold());
  std::vector<int32_t> kept = std::move(head.fixed);
  for (size_t i = 0; i < head.groups.size(); ++i) {
    std::vector<int32_t>& group = head.groups[i];
    const auto end = group.begin() + quotas[i];
    std::nth_element(group.begin(), end, group.end(),
                     [&](int32_t a, int32_t b) { return order[a] < order[b]; });
    kept.insert(kept.end(), group.begin(), end);
  }
  std::sort(kept.begin(), kept.end());
  return kept;
}

std::vector<int32_t> VictimsByTurns(const BirthOf& birth, int32_t entries, int32_t cap,
                                    const TurnRules& rules) {
  const int64_t seen = birth(entries - 1) + 1;
  HeadTurns head = SortOut(birth, entries, seen, rules);
  const int64_t rest = cap - static_cast<int64_t>(head.fixed.size());
  CONCERTINA_CHECK(rest >= 0 && !head.groups.empty(), "a share is below what is pinned");
  const std::vector<int32_t> quotas = Quotas(head, rest, seen, rules.fold());
  size_t most = 0;
  const auto above = [&](size_t i) {
    return static_cast<int32_t>(head.groups[i].size()) - quotas[i];
  };
  for (size_t i = 1; i < head.groups.size(); ++i) {
    if (above(i) > above(most)) {
      most = i;
    }
  }
  return std::move(head.groups[most]);
}

}  // namespace concertina
