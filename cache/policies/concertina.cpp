#include "cache/policies/builtin.h"
#include "cache/policies/ranking.h"

namespace concertina {
namespace {

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
  Ranking DoRank(const LayerView& layer, int32_t keep) const override {
    Ranking ranking = RankFading(layer, [&](int32_t head, int32_t index) {
      const int64_t at = head * layer.capacity + index;
      return MeanAttention(layer, head, index) *
             L1Norm(layer.v + at * layer.head_dim, layer.head_dim);
    });
    if (layer.packed) ranking.recent = RecentPacked(keep);
    return ranking;
  }

  int32_t DoVictim(const DecodeView& head) const override { return LeastAttended(head); }
  std::vector<int32_t> DoVictims(const DecodeView& head, int32_t count) const override {
    return LeastAttended(head, count);
  }

 private:
  double slope_r_;
  bool adaptive_heads_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const Policy>> MakeConcertina(const PolicyOptions& options) {
  const auto slope_r = SlopeOf(options);
  if (!slope_r.ok()) {
    return slope_r.status();
  }
  return std::make_shared<const Concertina>(*slope_r, options.adaptive_heads);
}

}  // namespace concertina
