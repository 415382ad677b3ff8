#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "cache/fold_report.h"
#include "cache/policies/policy.h"
#include "models/tensor/paged_layer.h"

namespace concertina {

// Indices in birth order, [begin, end); empty when equal.
struct IndexRange {
  int32_t begin = 0;
  int32_t end = 0;
};

// A policy whose entries lie on a device. Which entries a fold keeps is asked of the policy itself,
// on the host, from S, births and |V|_1; merging is done on the device. The victims of decode steps
// are found on the device, as the entry with the least S in a range that the host computes, so that
// no step waits for a copy. Immutable.
class DevicePolicy {
 public:
  // As LayerView has them.
  struct FoldedTokens {
    int64_t seen_after = 0;
    std::span<const TokenSpan> pictures = {};
    std::span<const int64_t> turn_starts = {};
    std::span<const float> fading = {};
  };

  // The errors of MakePolicy; UNIMPLEMENTED for a policy whose victims are not known here.
  static absl::StatusOr<DevicePolicy> Make(const std::string& name, const PolicyOptions& options);

  const Policy& policy() const { return *policy_; }
  bool keeps_everything() const { return policy_->keeps_everything(); }

  // Where the entry that Policy::Victim would name is the one with the least S, the oldest of
  // several. entries: held at the moment, the newest included; cap and anchors_at_fold as in
  // DecodeView. REQUIRES: entries >= 3; not keeps_everything().
  IndexRange VictimRange(int32_t entries, int32_t cap, int32_t anchors_at_fold) const;

  // What a fold to `share` entries per head leaves of `all` (in birth order). S is rounded as
  // SessionCache stores it. The policy sees |V|_1 in place of V (a LayerView of head_dim 1), so
  // that V need not be copied to the host. Adds what became of S to `report`, unless it is null.
  // Throws c10::Error.
  LayerEntries Fold(const LayerEntries& all, int32_t share, const FoldedTokens& tokens,
                    FoldReport* report = nullptr) const;

 private:
  enum class Victims { kNone, kLeastOutsideRecentHalf, kFixedPoint };

  DevicePolicy(std::shared_ptr<const Policy> policy, MergeMode merge, bool pure_sink,
               Victims victims)
      : policy_(std::move(policy)), merge_(merge), pure_sink_(pure_sink), victims_(victims) {}

  std::shared_ptr<const Policy> policy_;
  MergeMode merge_;
  bool pure_sink_;
  Victims victims_;
};

// S as SessionCache keeps it between turns: rounded to 16 bits (cache/packed_score.h). f32, any
// shape; the result is on the device of `scores`.
at::Tensor AsStored(const at::Tensor& scores);

}  // namespace concertina
