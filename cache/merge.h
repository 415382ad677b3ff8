#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/anchors.h"

// Merging the entries of a bucket into its anchor (arXiv 2407.18121, Eq. 2-3), one KV head at a
// time.

namespace concertina {

enum class MergeMode {
  kMean,   // K and V <- unweighted mean of the bucket's entries
  kMass,   // K and V <- mean weighted by mass
  kNone,   // K, V and mass of the anchor itself: plain eviction
  kVOnly,  // K of the anchor, V <- unweighted mean
};

// One head's entries as a fold sees them.
struct HeadEntries {
  const float* k = nullptr;        // [entries][head_dim]
  const float* v = nullptr;        // [entries][head_dim]
  const uint16_t* mass = nullptr;  // [entries]
  int32_t entries = 0;
  int32_t head_dim = 0;
  std::span<const uint8_t> closed;  // [entries], 1: accepts no merges; empty: all do
};

// Writes the merged K and V (head_dim floats each) of one bucket and returns the anchor's new mass
// (the bucket's sum, saturating at 65535; with kNone the anchor's own). Sums are f64, results f32.
uint16_t MergeBucket(const HeadEntries& head, Bucket bucket, int32_t anchor, MergeMode mode,
                     float* k_out, float* v_out);

// What attention adds to the score of an entry that stands for so many tokens, all of which have
// its key: log(mass). The same on every machine.
float LogMass(uint16_t mass);

struct MergedHead {
  std::vector<float> k;        // [anchors][head_dim]
  std::vector<float> v;        // [anchors][head_dim]
  std::vector<uint16_t> mass;  // [anchors]
};

// Every anchor of a head. Those that are closed, and with pure_sink the first and the last, accept
// no merges: the other entries of their buckets are dropped.
MergedHead MergeBuckets(const HeadEntries& head, std::span<const int32_t> anchors, MergeMode mode,
                        bool pure_sink);

}  // namespace concertina
