#include "models/tensor/device_policy.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/segment_reduce.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cache/packed_score.h"

namespace concertina {
namespace {

// Distance of `elastic`'s deletion point from the end of the folded cache, as in
// cache/policies/elastic.cpp.
constexpr int32_t kDeleteDistance = 25;
constexpr int64_t kMassMax = std::numeric_limits<uint16_t>::max();

// i64 [heads, each] on the host.
at::Tensor HostInts(int64_t heads, int64_t each) {
  return at::empty({heads, each}, at::TensorOptions().dtype(at::kLong));
}

at::Tensor ToDevice(const Selection& kept, const at::Device& device) {
  at::Tensor indices =
      HostInts(static_cast<int64_t>(kept.size()), static_cast<int64_t>(kept.front().size()));
  int64_t* out = indices.mutable_data_ptr<int64_t>();
  for (const std::vector<int32_t>& head : kept) out = std::copy(head.begin(), head.end(), out);
  return indices.to(device);
}

// Entries per bucket.
at::Tensor BucketSizes(const Selection& kept, int32_t entries, const at::Device& device) {
  at::Tensor sizes =
      HostInts(static_cast<int64_t>(kept.size()), static_cast<int64_t>(kept.front().size()));
  int64_t* out = sizes.mutable_data_ptr<int64_t>();
  for (const std::vector<int32_t>& head : kept) {
    for (const Bucket& bucket : Buckets(head, entries)) *out++ = bucket.last - bucket.first + 1;
  }
  return sizes.to(device);
}

// [kv_heads, n, head_dim] -> the entries `indices` [kv_heads, kept].
at::Tensor TakeVectors(const at::Tensor& vectors, const at::Tensor& indices) {
  return vectors.gather(
      1, indices.unsqueeze(2).expand({indices.size(0), indices.size(1), vectors.size(2)}));
}

// f32 [kv_heads, buckets, width] sums of values f32 [kv_heads, n, width].
at::Tensor BucketSums(const at::Tensor& values, const at::Tensor& sizes) {
  return at::segment_reduce(values.contiguous(), "sum", sizes, /*indices=*/{}, /*offsets=*/{},
                            /*axis=*/1, /*unsafe=*/true, /*initial=*/at::Scalar(0.0));
}

// Means of the buckets, weighted by `weights` f32 [kv_heads, n, 1]. An entry alone stays as it is,
// as do those of `alone` [kv_heads, kept, 1].
at::Tensor BucketMeans(const at::Tensor& vectors, const at::Tensor& weights,
                       const at::Tensor& sizes, const at::Tensor& kept, const at::Tensor& alone) {
  const at::Tensor means = BucketSums(vectors.to(at::kFloat).mul(weights), sizes)
                               .div_(BucketSums(weights, sizes))
                               .to(vectors.scalar_type());
  return at::where(alone, TakeVectors(vectors, kept), means);
}

// MergeBuckets (cache/merge.h) on the device.
void Merge(const LayerEntries& all, MergeMode mode, bool pure_sink, const at::Tensor& kept,
           const at::Tensor& sizes, LayerEntries* merged) {
  at::Tensor alone = sizes.eq(1).unsqueeze(2);
  if (pure_sink) {
    alone.select(1, 0).fill_(true);
    alone.select(1, alone.size(1) - 1).fill_(true);
  }
  const at::Tensor mass = all.mass.to(at::kFloat).unsqueeze(2);
  const at::Tensor weights = mode == MergeMode::kMass ? mass : mass.new_ones(mass.sizes());
  if (mode != MergeMode::kVOnly) merged->k = BucketMeans(all.k, weights, sizes, kept, alone);
  merged->v = BucketMeans(all.v, weights, sizes, kept, alone);
  const at::Tensor sums = BucketSums(mass, sizes).clamp_max_(kMassMax).to(at::kInt);
  merged->mass = at::where(alone.squeeze(2), merged->mass, sums.squeeze(2));
}

}  // namespace

absl::StatusOr<DevicePolicy> DevicePolicy::Make(const std::string& name,
                                                const PolicyOptions& options) {
  absl::StatusOr<std::shared_ptr<const Policy>> policy = MakePolicy(name, options);
  if (!policy.ok()) return policy.status();
  const bool elastic = name == "elastic";
  if (!elastic && name != "concertina" && !(*policy)->keeps_everything()) {
    return absl::UnimplementedError(
        absl::StrCat("policy ", name, " has no rule for victims on a device"));
  }
  if ((*policy)->splits_heads()) {
    return absl::UnimplementedError("heads of a layer keep the same number of entries on a device");
  }
  const Victims victims = (*policy)->keeps_everything() ? Victims::kNone
                          : elastic                     ? Victims::kFixedPoint
                                                        : Victims::kLeastOutsideRecentHalf;
  return DevicePolicy(*std::move(policy), elastic ? options.merge : MergeMode::kNone,
                      options.pure_sink, victims);
}

IndexRange DevicePolicy::VictimRange(int32_t entries, int32_t cap, int32_t anchors_at_fold) const {
  if (victims_ == Victims::kFixedPoint) {
    const int32_t at = std::clamp(anchors_at_fold - kDeleteDistance, 1, entries - 2);
    return {.begin = at, .end = at + 1};
  }
  const int32_t recent = std::max(1, cap / 2);
  return {.begin = 1, .end = std::max(2, entries - recent)};
}

LayerEntries DevicePolicy::Fold(const LayerEntries& all, int32_t share, const FoldedTokens& tokens,
                                FoldReport* report) const {
  const at::Tensor score = all.score.cpu().contiguous();
  const at::Tensor birth = all.birth.cpu().contiguous();
  const at::Tensor norms = all.v.to(at::kFloat).abs().sum(2).cpu().contiguous();
  const auto entries = static_cast<int32_t>(all.k.size(1));
  const LayerView view{.kv_heads = static_cast<int32_t>(all.k.size(0)),
                       .head_dim = 1,
                       .entries = entries,
                       .capacity = entries,
                       .seen_after = tokens.seen_after,
                       .v = norms.const_data_ptr<float>(),
                       .score = score.const_data_ptr<float>(),
                       .birth = reinterpret_cast<const uint32_t*>(birth.const_data_ptr<int32_t>()),
                       .pictures = tokens.pictures,
                       .turn_starts = tokens.turn_starts,
                       .fading = tokens.fading};
  const Selection selection = policy_->Select(view, share);
  if (report != nullptr && policy_->needs_scores()) AddAttention(view, selection, report);
  const at::Tensor kept = ToDevice(selection, all.k.device());
  LayerEntries folded{.k = TakeVectors(all.k, kept),
                      .v = TakeVectors(all.v, kept),
                      .score = AsStored(all.score.gather(1, kept)),
                      .birth = all.birth.gather(1, kept),
                      .mass = all.mass.gather(1, kept)};
  if (merge_ != MergeMode::kNone) {
    Merge(all, merge_, pure_sink_, kept, BucketSizes(selection, entries, all.k.device()), &folded);
  }
  return folded;
}

at::Tensor AsStored(const at::Tensor& scores) {
  at::Tensor host = scores.to(at::kCPU, at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  host = host.contiguous();
  float* values = host.mutable_data_ptr<float>();
  std::transform(values, values + host.numel(), values,
                 [](float score) { return UnpackScore(PackScore(score)); });
  return host.to(scores.device());
}

}  // namespace concertina
