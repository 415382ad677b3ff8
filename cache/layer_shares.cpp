#include "cache/layer_shares.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cache/check.h"

namespace concertina {
namespace {

class Weights {
 public:
  Weights(const LayerSplit& split, size_t layers)
      : given_(split.weights),
        first_(layers > 1 ? 2.0 / (1.0 + split.slope_r) : 1.0),
        last_(layers > 1 ? 2.0 * split.slope_r / (1.0 + split.slope_r) : 1.0),
        layers_(layers) {}

  double operator[](size_t layer) const {
    if (!given_.empty()) {
      return given_[layer];
    }
    if (layers_ == 1) {
      return first_;
    }
    const double t = static_cast<double>(layer) / static_cast<double>(layers_ - 1);
    return first_ + (last_ - first_) * t;
  }

 private:
  std::span<const double> given_;
  double first_;
  double last_;
  size_t layers_;
};

// What is left for the layers whose share is not yet known (negative), and their weight.
struct Open {
  double weight = 0;
  int64_t left = 0;
};

Open Remaining(const Weights& weights, const std::vector<int32_t>& shares, int64_t total) {
  Open open{.left = total};
  for (size_t l = 0; l < shares.size(); ++l) {
    if (shares[l] < 0) {
      open.weight += weights[l];
    } else {
      open.left -= shares[l];
    }
  }
  return open;
}

// Finds the layers that end at a bound. Layers are fixed on one side only per round, on the side
// whose violations weigh more: those stay violated whatever happens to the others.
void FixBounds(const Weights& weights, int32_t floor, std::span<const int32_t> holds, int64_t total,
               std::vector<int32_t>* shares) {
  while (true) {
    const Open open = Remaining(weights, *shares, total);
    if (open.weight <= 0) {
      return;
    }
    const double scale = static_cast<double>(open.left) / open.weight;
    double above = 0;
    double below = 0;
    for (size_t l = 0; l < holds.size(); ++l) {
      const double share = scale * weights[l];
      if ((*shares)[l] < 0) {
        above += std::max(0.0, share - holds[l]);
        below += std::max(0.0, std::min(floor, holds[l]) - share);
      }
    }
    bool changed = false;
    for (size_t l = 0; l < holds.size(); ++l) {
      const double share = scale * weights[l];
      const int32_t low = std::min(floor, holds[l]);
      const bool at_cap = above >= below && share >= holds[l];
      const bool at_floor = above <= below && share <= low;
      if ((*shares)[l] < 0 && (at_cap || at_floor)) {
        (*shares)[l] = at_cap ? holds[l] : low;
        changed = true;
      }
    }
    if (!changed) {
      return;
    }
  }
}

}  // namespace

void LayerShares(int64_t total_entries_per_head, const LayerSplit& split,
                 std::span<const int32_t> holds, std::vector<int32_t>* shares) {
  CONCERTINA_CHECK(split.slope_r > 0, "the slope of shares must be positive");
  CONCERTINA_CHECK(split.weights.empty() || split.weights.size() == holds.size(),
                   "a weight is needed for every layer");
  int64_t most = 0;
  int64_t least = 0;
  for (const int32_t held : holds) {
    most += held;
    least += std::min(split.floor, held);
  }
  const int64_t total = std::min(std::max(total_entries_per_head, least), most);
  if (total == most) {
    shares->assign(holds.begin(), holds.end());
    return;
  }
  const Weights weights(split, holds.size());
  shares->assign(holds.size(), -1);
  FixBounds(weights, split.floor, holds, total, shares);
  const Open open = Remaining(weights, *shares, total);
  // Open layers hold -1 - their floored share until the remainder is given out.
  int64_t left = open.left;
  for (size_t l = 0; l < holds.size(); ++l) {
    if ((*shares)[l] < 0) {
      // The nudge keeps a share that is a whole number from being floored to the one below.
      const double share = static_cast<double>(open.left) / open.weight * weights[l];
      const auto floored = static_cast<int32_t>(std::floor(share + 1e-9));
      (*shares)[l] = -1 - floored;
      left -= floored;
    }
  }
  for (size_t l = holds.size(); l-- > 0;) {
    int32_t& share = (*shares)[l];
    if (share < 0) {
      share = -1 - share;
      if (left > 0 && share < holds[l]) {
        ++share;
        --left;
      }
    }
  }
  CONCERTINA_CHECK(left == 0, "layer shares do not add up");
}

std::vector<int32_t> LayerShares(int64_t total_entries_per_head, const LayerSplit& split,
                                 std::span<const int32_t> holds) {
  std::vector<int32_t> shares;
  LayerShares(total_entries_per_head, split, holds, &shares);
  return shares;
}

}  // namespace concertina
