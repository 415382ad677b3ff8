#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cache/anchors.h"
#include "cache/policies/builtin.h"

namespace concertina {
namespace {

constexpr double kSlope = 2.5;  // measured best on SmolLM2; 1 for an uncalibrated model

// |x|_1 in eight fixed lanes: vectorises, and the order never depends on the machine.
float L1Norm(const float* x, int32_t count) {
  constexpr int32_t kLanes = 8;
  float lanes[kLanes] = {};
  int32_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int32_t j = 0; j < kLanes; ++j) {
      lanes[j] += x[i + j] < 0 ? -x[i + j] : x[i + j];
    }
  }
  float sum = 0;
  for (; i < count; ++i) {
    sum += x[i] < 0 ? -x[i] : x[i];
  }
  for (const float lane : lanes) {
    sum += lane;
  }
  return sum;
}

// The default. An entry is worth the mean attention of the queries that could see it times the size
// of its value, per KV head; deep layers get more entries than shallow ones. What is not kept is
// deleted. While decoding at the cap, the entry with the least attention outside the recent half
// goes.
class Concertina final : public Policy {
 public:
  Concertina(double slope_r, bool adaptive_heads)
      : slope_r_(slope_r), adaptive_heads_(adaptive_heads) {}

  std::string_view name() const override { return "concertina"; }
  double slope_r() const override { return slope_r_; }
  bool splits_heads() const override { return adaptive_heads_; }
  OnContextEnd default_on_context_end() const override { return OnContextEnd::kRebase; }

 protected:
  Ranking DoRank(const LayerView& layer, int32_t /*keep*/) const override {
    Ranking ranking;
    for (int32_t h = 0; h < layer.kv_heads; ++h) {
      const std::span<const float> scores = layer.Scores(h);
      const uint32_t* birth = layer.birth + h * layer.capacity;
      const float* v = layer.v + h * layer.capacity * layer.head_dim;
      std::vector<float> worth(static_cast<size_t>(layer.entries));
      for (int32_t i = 0; i < layer.entries; ++i) {
        const auto queries = static_cast<float>(layer.seen_after - birth[i]);
        worth[i] = scores[i] / queries *
                   L1Norm(v + static_cast<int64_t>(i) * layer.head_dim, layer.head_dim);
      }
      ranking.worth.push_back(std::move(worth));
    }
    return ranking;
  }

  int32_t DoVictim(const DecodeView& head) const override {
    return LowestBefore(head.scores, std::max(1, head.cap / 2));
  }

 private:
  double slope_r_;
  bool adaptive_heads_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const Policy>> MakeConcertina(const PolicyOptions& options) {
  const double slope_r = options.slope_r.value_or(kSlope);
  if (!(slope_r >= 1.0 / 64 && slope_r <= 64)) {
    return absl::InvalidArgumentError(
        absl::StrCat("slope_r must be between 1/64 and 64, not ", slope_r));
  }
  return std::make_shared<const Concertina>(slope_r, options.adaptive_heads);
}

}  // namespace concertina
