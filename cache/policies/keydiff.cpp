#include <algorithm>
#include <cmath>
#include <span>

#include "cache/anchors.h"
#include "cache/policies/builtin.h"

namespace concertina {
namespace {

double Length(std::span<const float> vector) {
  double sum = 0;
  for (const float x : vector) {
    sum += static_cast<double>(x) * static_cast<double>(x);
  }
  return std::max(std::sqrt(sum), 1e-12);
}

// Of keys [entries][head_dim]: one minus the cosine between each key and the mean direction of all.
std::vector<float> Differences(std::span<const float> keys, int32_t head_dim) {
  const size_t entries = keys.size() / static_cast<size_t>(head_dim);
  const auto key = [&](size_t i) { return keys.subspan(i * head_dim, head_dim); };
  std::vector<double> lengths(entries);
  std::vector<float> mean(static_cast<size_t>(head_dim));
  std::vector<double> sum(static_cast<size_t>(head_dim));
  for (size_t i = 0; i < entries; ++i) {
    lengths[i] = Length(key(i));
    for (int32_t d = 0; d < head_dim; ++d) {
      sum[d] += static_cast<double>(key(i)[d]) / lengths[i];
    }
  }
  for (int32_t d = 0; d < head_dim; ++d) {
    mean[d] = static_cast<float>(sum[d] / static_cast<double>(entries));
  }
  const double mean_length = Length(mean);
  std::vector<float> differences(entries);
  for (size_t i = 0; i < entries; ++i) {
    double product = 0;
    for (int32_t d = 0; d < head_dim; ++d) {
      product += static_cast<double>(key(i)[d]) * static_cast<double>(mean[d]);
    }
    differences[i] = static_cast<float>(1.0 - product / (lengths[i] * mean_length));
  }
  return differences;
}

// KeyDiff, arXiv 2504.15364: per KV head, the entries whose keys are the least like all the
// others'. No attention is asked for. While decoding, the entry most like the others goes; that
// reads every key of the head.
class KeyDiff final : public Policy {
 public:
  std::string_view name() const override { return "keydiff"; }
  bool needs_scores() const override { return false; }
  OnContextEnd default_on_context_end() const override { return OnContextEnd::kRebase; }

 protected:
  Ranking DoRank(const LayerView& layer, int32_t /*keep*/) const override {
    Ranking ranking;
    for (int32_t head = 0; head < layer.kv_heads; ++head) {
      const std::span<const float> keys(
          layer.k + head * layer.capacity * layer.head_dim,
          static_cast<size_t>(layer.entries) * static_cast<size_t>(layer.head_dim));
      ranking.worth.push_back(Differences(keys, layer.head_dim));
    }
    return ranking;
  }

  int32_t DoVictim(const DecodeView& head) const override {
    std::vector<float> keys(head.scores.size() * static_cast<size_t>(head.head_dim));
    for (size_t i = 0; i < head.scores.size(); ++i) {
      head.entries->LoadKey(static_cast<int32_t>(i), keys.data() + i * head.head_dim);
    }
    return LowestBefore(Differences(keys, head.head_dim), /*recent=*/1);
  }
};

}  // namespace

absl::StatusOr<std::shared_ptr<const Policy>> MakeKeyDiff(const PolicyOptions& /*options*/) {
  return std::make_shared<const KeyDiff>();
}

}  // namespace concertina
