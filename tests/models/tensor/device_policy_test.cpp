#include "models/tensor/device_policy.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "cache/packed_score.h"

namespace concertina {
namespace {

DevicePolicy Make(const std::string& name, const PolicyOptions& options = {}) {
  auto policy = DevicePolicy::Make(name, options);
  EXPECT_TRUE(policy.ok()) << policy.status();
  return *std::move(policy);
}

TEST(DevicePolicy, KnowsThePoliciesAndRefusesOthers) {
  for (const char* name : {"concertina", "elastic", "full"}) {
    EXPECT_TRUE(DevicePolicy::Make(name, {}).ok()) << name;
  }
  for (const std::string_view name : PolicyNames()) {
    const auto policy = DevicePolicy::Make(std::string(name), {});
    if (!policy.ok()) {
      EXPECT_EQ(policy.status().code(), absl::StatusCode::kUnimplemented) << name;
    }
  }
  EXPECT_FALSE(DevicePolicy::Make("h2o", {}).ok());
  EXPECT_EQ(DevicePolicy::Make("none", {}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(DevicePolicy::Make("concertina", {.slope_r = 0.0}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(DevicePolicy, TheLeastOfTheRangeIsThePolicysVictim) {
  const uint32_t seed = 31;
  std::mt19937 random(seed);
  SCOPED_TRACE(seed);
  for (const char* name : {"concertina", "elastic"}) {
    const DevicePolicy device = Make(name);
    for (int i = 0; i < 2000; ++i) {
      const auto entries = static_cast<int32_t>(3 + random() % 60);
      const auto cap = static_cast<int32_t>(2 + random() % (entries - 2));
      const auto anchors = static_cast<int32_t>(random() % 60);
      std::vector<float> scores(entries);
      for (float& score : scores) score = static_cast<float>(random() % 16);  // with ties
      const IndexRange range = device.VictimRange(entries, cap, anchors);
      ASSERT_LT(range.begin, range.end);
      ASSERT_LE(range.end, entries);
      const int64_t least =
          std::min_element(scores.begin() + range.begin, scores.begin() + range.end) -
          scores.begin();
      EXPECT_EQ(least,
                device.policy().Victim({.scores = scores, .cap = cap, .anchors_at_fold = anchors}))
          << name << ": " << entries << " entries, cap " << cap << ", anchors " << anchors;
    }
  }
}

LayerEntries RandomEntries(int64_t kv_heads, int64_t entries, int64_t head_dim) {
  return {.k = at::randn({kv_heads, entries, head_dim}),
          .v = at::randn({kv_heads, entries, head_dim}),
          .score = at::rand({kv_heads, entries}),
          .birth = at::arange(entries, at::kInt).expand({kv_heads, entries}).contiguous(),
          .mass = at::randint(1, 40000, {kv_heads, entries}, at::kInt)};
}

// The fold on the host, as SessionCache does it, against the device's.
void ExpectSameFold(const DevicePolicy& device, const LayerEntries& all, int32_t share) {
  const auto entries = static_cast<int32_t>(all.k.size(1));
  const auto head_dim = static_cast<int32_t>(all.k.size(2));
  const LayerView view{
      .kv_heads = static_cast<int32_t>(all.k.size(0)),
      .head_dim = head_dim,
      .entries = entries,
      .capacity = entries,
      .seen_after = entries,
      .v = all.v.const_data_ptr<float>(),
      .score = all.score.const_data_ptr<float>(),
      .birth = reinterpret_cast<const uint32_t*>(all.birth.const_data_ptr<int32_t>())};
  const Selection selection = device.policy().Select(view, share);
  const LayerEntries folded = device.Fold(all, share, {.seen_after = entries});
  for (size_t head = 0; head < selection.size(); ++head) {
    const auto h = static_cast<int64_t>(head);
    const std::vector<int32_t>& kept = selection[head];
    std::vector<uint16_t> mass(static_cast<size_t>(entries));
    for (int32_t i = 0; i < entries; ++i) {
      mass[i] = static_cast<uint16_t>(all.mass[h][i].item<int>());
    }
    const MergedHead merged = device.policy().Merge({.k = all.k[h].const_data_ptr<float>(),
                                                     .v = all.v[h].const_data_ptr<float>(),
                                                     .mass = mass.data(),
                                                     .entries = entries,
                                                     .head_dim = head_dim},
                                                    kept);
    ASSERT_EQ(folded.k.size(1), static_cast<int64_t>(kept.size()));
    for (size_t i = 0; i < kept.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      EXPECT_EQ(folded.birth[h][at].item<int>(), kept[i]);
      EXPECT_EQ(folded.mass[h][at].item<int>(), merged.mass[i]);
      EXPECT_EQ(folded.score[h][at].item<float>(),
                UnpackScore(PackScore(all.score[h][kept[i]].item<float>())));
      for (int32_t d = 0; d < head_dim; ++d) {
        EXPECT_NEAR(folded.k[h][at][d].item<float>(), merged.k[i * head_dim + d], 1e-5);
        EXPECT_NEAR(folded.v[h][at][d].item<float>(), merged.v[i * head_dim + d], 1e-5);
      }
    }
  }
}

TEST(DevicePolicy, FoldsAsThePolicyDoesOnTheHost) {
  at::manual_seed(32);
  for (const int64_t entries : {1, 2, 3, 17, 64}) {
    for (const int32_t share : {2, 5, 16}) {
      const LayerEntries all = RandomEntries(2, entries, 8);
      ExpectSameFold(Make("concertina"), all, share);
      for (const MergeMode merge :
           {MergeMode::kMean, MergeMode::kMass, MergeMode::kNone, MergeMode::kVOnly}) {
        for (const bool pure_sink : {false, true}) {
          SCOPED_TRACE(static_cast<int>(merge));
          ExpectSameFold(Make("elastic", {.merge = merge, .pure_sink = pure_sink}), all, share);
        }
      }
    }
  }
}

}  // namespace
}  // namespace concertina
