#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "cache/policies/builtin.h"

namespace concertina {
namespace {

constexpr int32_t kDeleteDistance = 25;

// What an entry and those merged into it add up to.
struct Sums {
  std::vector<double> k, v;
  std::vector<uint32_t> mass;
  std::vector<int32_t> count;
};

void Add(const HeadEntries& head, int32_t from, size_t to, Sums* sums) {
  for (int32_t d = 0; d < head.head_dim; ++d) {
    const int64_t source = static_cast<int64_t>(from) * head.head_dim + d;
    const size_t target = to * head.head_dim + d;
    sums->k[target] += static_cast<double>(head.k[source]);
    sums->v[target] += static_cast<double>(head.v[source]);
  }
  sums->mass[to] += head.mass[from];
  ++sums->count[to];
}

// Where in `kept` the entry nearest to `index` is, the first and the last aside; the older of two.
size_t Nearest(std::span<const int32_t> kept, int32_t index) {
  const auto inner = kept.subspan(1, kept.size() - 2);
  const auto after = std::lower_bound(inner.begin(), inner.end(), index);
  auto nearest = after == inner.end() ? after - 1 : after;
  if (after != inner.begin() && after != inner.end() && index - *(after - 1) <= *after - index) {
    nearest = after - 1;
  }
  return static_cast<size_t>(nearest - inner.begin()) + 1;
}

// What the code published with arXiv 2407.18121 does, for comparison only; the method of the paper
// is `elastic`. Positions in the order of ascending importance are taken for ranks, so what stays
// are not the most important entries; what is merged is the entry before each one that goes; the
// next position is the number of entries kept.
class Official final : public Policy {
 public:
  std::string_view name() const override { return "official"; }
  bool positions_by_length() const override { return true; }
  bool follows_turn_rules() const override { return false; }

  bool merges() const override { return true; }
  MergedHead Merge(const HeadEntries& head, std::span<const int32_t> kept) const override;

 protected:
  // The places themselves are what the entries are worth.
  Ranking DoRank(const LayerView& layer, int32_t /*keep*/) const override {
    const std::vector<float> importance = MeanScores(layer);
    std::vector<int32_t> order(static_cast<size_t>(layer.entries) - 2);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return Sortable(importance[a + 1]) < Sortable(importance[b + 1]);
    });
    std::vector<float> worth(static_cast<size_t>(layer.entries));
    for (size_t i = 0; i < order.size(); ++i) {
      worth[i + 1] = static_cast<float>(order[i]);
    }
    return {.worth = {std::move(worth)}};
  }

  // A place counted from the front, or from the end where it is negative, as Python has it.
  int32_t DoVictim(const DecodeView& head) const override {
    const auto entries = static_cast<int32_t>(head.scores.size());
    const int32_t place = head.anchors_at_fold + 1 - kDeleteDistance;
    return std::clamp(place < 0 ? entries + place : place, 1, entries - 2);
  }

 private:
  // NaN counts as the lowest: an order that has it is none.
  static float Sortable(float score) {
    return std::isnan(score) ? -std::numeric_limits<float>::infinity() : score;
  }
};

MergedHead Official::Merge(const HeadEntries& head, std::span<const int32_t> kept) const {
  const size_t values = kept.size() * static_cast<size_t>(head.head_dim);
  Sums sums{.k = std::vector<double>(values),
            .v = std::vector<double>(values),
            .mass = std::vector<uint32_t>(kept.size()),
            .count = std::vector<int32_t>(kept.size())};
  for (size_t i = 0; i < kept.size(); ++i) {
    Add(head, kept[i], i, &sums);
  }
  for (int32_t i = 0; kept.size() > 2 && i + 2 < head.entries; ++i) {
    if (!std::binary_search(kept.begin() + 1, kept.end() - 1, i + 1)) {
      Add(head, i, Nearest(kept, i), &sums);
    }
  }
  MergedHead merged{.k = std::vector<float>(values), .v = std::vector<float>(values), .mass = {}};
  for (size_t i = 0; i < values; ++i) {
    const int32_t count = sums.count[i / head.head_dim];
    merged.k[i] = static_cast<float>(sums.k[i] / count);
    merged.v[i] = static_cast<float>(sums.v[i] / count);
  }
  for (const uint32_t mass : sums.mass) {
    merged.mass.push_back(
        static_cast<uint16_t>(std::min<uint32_t>(mass, std::numeric_limits<uint16_t>::max())));
  }
  return merged;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Policy>> MakeOfficial(const PolicyOptions& /*options*/) {
  return std::make_shared<const Official>();
}

}  // namespace concertina
