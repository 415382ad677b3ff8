#include "cache/layer_shares.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cache/check.h"

namespace concertina {
namespace {

constexpr int32_t kFloor = 2;  // the first and the newest entry

std::vector<double> Weights(double slope_r, size_t layers) {
  const double first = 2.0 / (1.0 + slope_r);
  const double last = 2.0 * slope_r / (1.0 + slope_r);
  std::vector<double> weights(layers, 1.0);
  for (size_t l = 0; layers > 1 && l < layers; ++l) {
    const double t = static_cast<double>(l) / static_cast<double>(layers - 1);
    weights[l] = first + (last - first) * t;
  }
  return weights;
}

// Layers whose share is not at a bound, and what is left for them.
struct Open {
  std::vector<bool> layer;
  double weight = 0;
  int64_t left = 0;
};

Open Remaining(const std::vector<double>& weights, const std::vector<int32_t>& fixed,
               int64_t total) {
  Open open{.layer = std::vector<bool>(weights.size()), .left = total};
  for (size_t l = 0; l < weights.size(); ++l) {
    open.layer[l] = fixed[l] < 0;
    if (open.layer[l]) {
      open.weight += weights[l];
    } else {
      open.left -= fixed[l];
    }
  }
  return open;
}

// Finds the layers that end at a bound. Layers are fixed on one side only per round, on the side
// whose violations weigh more: those stay violated whatever happens to the others.
std::vector<int32_t> FixBounds(const std::vector<double>& weights, std::span<const int32_t> holds,
                               int64_t total) {
  std::vector<int32_t> fixed(weights.size(), -1);
  while (true) {
    const Open open = Remaining(weights, fixed, total);
    if (open.weight <= 0) {
      return fixed;
    }
    const double scale = static_cast<double>(open.left) / open.weight;
    double above = 0;
    double below = 0;
    for (size_t l = 0; l < weights.size(); ++l) {
      const double share = scale * weights[l];
      if (open.layer[l]) {
        above += std::max(0.0, share - holds[l]);
        below += std::max(0.0, std::min(kFloor, holds[l]) - share);
      }
    }
    bool changed = false;
    for (size_t l = 0; l < weights.size(); ++l) {
      const double share = scale * weights[l];
      const int32_t low = std::min(kFloor, holds[l]);
      const bool at_cap = above >= below && share >= holds[l];
      const bool at_floor = above <= below && share <= low;
      if (open.layer[l] && (at_cap || at_floor)) {
        fixed[l] = at_cap ? holds[l] : low;
        changed = true;
      }
    }
    if (!changed) {
      return fixed;
    }
  }
}

}  // namespace

std::vector<int32_t> LayerShares(int64_t total_entries_per_head, double slope_r,
                                 std::span<const int32_t> holds) {
  CONCERTINA_CHECK(slope_r > 0, "the slope of shares must be positive");
  int64_t most = 0;
  int64_t least = 0;
  for (const int32_t held : holds) {
    most += held;
    least += std::min(kFloor, held);
  }
  const int64_t total = std::min(std::max(total_entries_per_head, least), most);
  if (total == most) {
    return {holds.begin(), holds.end()};
  }
  const std::vector<double> weights = Weights(slope_r, holds.size());
  std::vector<int32_t> shares = FixBounds(weights, holds, total);
  const Open open = Remaining(weights, shares, total);
  int64_t left = open.left;
  for (size_t l = 0; l < shares.size(); ++l) {
    if (open.layer[l]) {
      // The nudge keeps a share that is a whole number from being floored to the one below.
      const double share = static_cast<double>(open.left) / open.weight * weights[l];
      shares[l] = static_cast<int32_t>(std::floor(share + 1e-9));
      left -= shares[l];
    }
  }
  for (size_t l = shares.size(); l-- > 0 && left > 0;) {
    if (shares[l] < holds[l] && open.layer[l]) {
      ++shares[l];
      --left;
    }
  }
  CONCERTINA_CHECK(left == 0, "layer shares do not add up");
  return shares;
}

}  // namespace concertina
