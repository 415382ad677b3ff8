#include "cache/head_shares.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "cache/check.h"
#include "cache/layer_shares.h"

namespace concertina {
namespace {

// Worth of a head's entries between the first and the newest as parts of their sum, the largest
// first, behind those two, which nothing is worth more than.
std::vector<float> Descending(std::span<const float> worth) {
  const size_t ends = std::min<size_t>(worth.size(), 2);
  std::vector<float> parts(worth.size());
  double sum = 0;
  for (size_t i = ends; i < parts.size(); ++i) {
    const float inner = worth[i - 1];
    parts[i] = inner > 0 ? inner : 0.0F;  // NaN is not
    sum += static_cast<double>(parts[i]);
  }
  if (sum > 0 && std::isfinite(sum)) {
    for (float& part : parts) {
      part = static_cast<float>(static_cast<double>(part) / sum);
    }
  }
  std::fill_n(parts.begin(), ends, std::numeric_limits<float>::infinity());
  std::sort(parts.begin() + static_cast<int64_t>(ends), parts.end(), std::greater<>());
  return parts;
}

int32_t PagesOf(int32_t entries, int32_t entries_per_page) {
  return (entries + entries_per_page - 1) / entries_per_page;
}

// The head that uses least of its last page and may do without, -1 if none.
int32_t LeastOnLastPage(std::span<const int32_t> counts, std::span<const int32_t> holds,
                        int32_t entries_per_page, int32_t least) {
  int32_t found = -1;
  int32_t used = entries_per_page + 1;
  for (size_t h = 0; h < counts.size(); ++h) {
    const int32_t on_last = counts[h] == 0 ? 0 : (counts[h] - 1) % entries_per_page + 1;
    if (on_last > 0 && on_last < used && counts[h] - on_last >= std::min(least, holds[h])) {
      used = on_last;
      found = static_cast<int32_t>(h);
    }
  }
  return found;
}

}  // namespace

std::vector<int32_t> SplitByWorth(std::span<const std::vector<float>> worth, int32_t keep,
                                  int32_t least) {
  const auto safe = std::max(least, static_cast<int32_t>(kSafeShare * keep));
  int64_t left = int64_t{keep} * static_cast<int64_t>(worth.size());
  std::vector<int32_t> counts;
  std::vector<std::vector<float>> parts;
  for (const std::vector<float>& head : worth) {
    counts.push_back(std::min(safe, static_cast<int32_t>(head.size())));
    parts.push_back(Descending(head));
    left -= counts.back();
  }
  CONCERTINA_CHECK(left >= 0, "heads share less than their floor");
  for (; left > 0; --left) {
    int32_t best = -1;
    for (size_t h = 0; h < parts.size(); ++h) {
      const auto next = static_cast<size_t>(counts[h]);
      if (next < parts[h].size() &&
          (best < 0 || parts[h][next] > parts[best][static_cast<size_t>(counts[best])])) {
        best = static_cast<int32_t>(h);
      }
    }
    if (best < 0) {
      break;  // all entries stay
    }
    ++counts[best];
  }
  return counts;
}

std::vector<int32_t> SplitAsFolded(int64_t total, std::span<const int32_t> folded,
                                   std::span<const int32_t> holds, int32_t least) {
  std::vector<double> weights;
  for (const int32_t entries : folded) {
    weights.push_back(std::max(entries, 1));
  }
  LayerSplit split(weights);
  split.floor = least;
  return LayerShares(total, split, holds);
}

void FitPages(int64_t pages_max, int32_t entries_per_page, std::span<const int32_t> holds,
              int32_t least, std::vector<int32_t>* counts) {
  int64_t pages = 0;
  for (const int32_t count : *counts) {
    pages += PagesOf(count, entries_per_page);
  }
  int32_t homeless = 0;
  for (; pages > pages_max; --pages) {
    const int32_t head = LeastOnLastPage(*counts, holds, entries_per_page, least);
    if (head < 0) {
      break;
    }
    const int32_t kept = (PagesOf((*counts)[head], entries_per_page) - 1) * entries_per_page;
    homeless += (*counts)[head] - kept;
    (*counts)[head] = kept;
  }
  for (size_t h = 0; h < counts->size() && homeless > 0; ++h) {
    const int32_t room = PagesOf((*counts)[h], entries_per_page) * entries_per_page;
    const int32_t more = std::min({homeless, room - (*counts)[h], holds[h] - (*counts)[h]});
    (*counts)[h] += more;
    homeless -= more;
  }
}

}  // namespace concertina
