#include "cache/merge.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace concertina {
namespace {

constexpr uint32_t kMassMax = std::numeric_limits<uint16_t>::max();

void Mean(const float* rows, const HeadEntries& head, Bucket bucket, bool by_mass, float* out) {
  double weight_sum = 0;
  std::vector<double> sum(static_cast<size_t>(head.head_dim));
  for (int32_t i = bucket.first; i <= bucket.last; ++i) {
    const double weight = by_mass ? head.mass[i] : 1.0;
    const float* row = rows + static_cast<int64_t>(i) * head.head_dim;
    weight_sum += weight;
    for (int32_t d = 0; d < head.head_dim; ++d) {
      sum[d] += weight * static_cast<double>(row[d]);
    }
  }
  for (int32_t d = 0; d < head.head_dim; ++d) {
    out[d] = static_cast<float>(sum[d] / weight_sum);
  }
}

void CopyRow(const float* rows, const HeadEntries& head, int32_t index, float* out) {
  std::copy_n(rows + static_cast<int64_t>(index) * head.head_dim, head.head_dim, out);
}

}  // namespace

uint16_t MergeBucket(const HeadEntries& head, Bucket bucket, int32_t anchor, MergeMode mode,
                     float* k_out, float* v_out) {
  const bool alone = bucket.first == bucket.last;
  if (mode == MergeMode::kNone || alone) {
    CopyRow(head.k, head, anchor, k_out);
    CopyRow(head.v, head, anchor, v_out);
    return head.mass[anchor];
  }
  const bool by_mass = mode == MergeMode::kMass;
  if (mode == MergeMode::kVOnly) {
    CopyRow(head.k, head, anchor, k_out);
  } else {
    Mean(head.k, head, bucket, by_mass, k_out);
  }
  Mean(head.v, head, bucket, by_mass, v_out);
  uint32_t mass = 0;
  for (int32_t i = bucket.first; i <= bucket.last; ++i) {
    mass = std::min(kMassMax, mass + head.mass[i]);
  }
  return static_cast<uint16_t>(mass);
}

float LogMass(uint16_t mass) { return static_cast<float>(std::log(static_cast<double>(mass))); }

MergedHead MergeBuckets(const HeadEntries& head, std::span<const int32_t> anchors, MergeMode mode,
                        bool pure_sink) {
  MergedHead merged;
  const size_t values = anchors.size() * static_cast<size_t>(head.head_dim);
  merged.k.resize(values);
  merged.v.resize(values);
  merged.mass.resize(anchors.size());
  if (anchors.empty()) {
    return merged;
  }
  const std::vector<Bucket> buckets = Buckets(anchors, head.entries);
  for (size_t i = 0; i < anchors.size(); ++i) {
    const bool closed = (!head.closed.empty() && head.closed[anchors[i]] != 0) ||
                        (pure_sink && (i == 0 || i + 1 == anchors.size()));
    const int64_t at = static_cast<int64_t>(i) * head.head_dim;
    merged.mass[i] = MergeBucket(head, buckets[i], anchors[i], closed ? MergeMode::kNone : mode,
                                 merged.k.data() + at, merged.v.data() + at);
  }
  return merged;
}

}  // namespace concertina
