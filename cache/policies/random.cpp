#include <utility>

#include "cache/anchors.h"
#include "cache/policies/builtin.h"

namespace concertina {
namespace {

// splitmix64 (public domain): every bit of the result depends on every bit of x.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

// A number of an entry's own in [0, 1), the same in all heads of a layer. 24 bits are all a float
// holds.
float Draw(int32_t layer, uint32_t birth) {
  const uint64_t bits = Mix(uint64_t{static_cast<uint32_t>(layer)} << 32 | birth);
  return static_cast<float>(bits >> 40) / static_cast<float>(1 << 24);
}

// Any entries: what a score must beat. Every entry draws once, from its layer and its birth, and
// those with the highest numbers stay, so that folds and steps together leave an even sample of all
// tokens seen, and a session that is rebuilt or forked draws the same.
class Random final : public Policy {
 public:
  std::string_view name() const override { return "random"; }
  bool needs_scores() const override { return false; }
  OnContextEnd default_on_context_end() const override { return OnContextEnd::kRebase; }

 protected:
  Ranking DoRank(const LayerView& layer, int32_t /*keep*/) const override {
    Ranking ranking;
    for (int32_t h = 0; h < layer.kv_heads; ++h) {
      std::vector<float> draws(static_cast<size_t>(layer.entries));
      for (int32_t i = 0; i < layer.entries; ++i) {
        draws[i] = Draw(layer.layer, layer.birth[h * layer.capacity + i]);
      }
      ranking.worth.push_back(std::move(draws));
    }
    return ranking;
  }

  int32_t DoVictim(const DecodeView& head) const override {
    std::vector<float> draws(head.scores.size());
    for (size_t i = 0; i < draws.size(); ++i) {
      draws[i] = Draw(head.layer, head.entries->Birth(static_cast<int32_t>(i)));
    }
    return LowestBefore(draws, /*recent=*/1);
  }
};

}  // namespace

absl::StatusOr<std::shared_ptr<const Policy>> MakeRandom(const PolicyOptions& /*options*/) {
  return std::make_shared<const Random>();
}

}  // namespace concertina
