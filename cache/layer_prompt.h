#pragma once

#include <cstdint>
#include <vector>

namespace concertina {

// One layer's working set during a prefill: the entries the layer kept, in birth order, followed by
// the prompt's. The engine owns the memory (one workspace serves all layers and sessions, f32);
// strides are `capacity` entries per KV head. Where heads differ in how many they kept, the shorter
// ones begin later, so that the prompt's entries have the same indices in all of them.
//
// SessionCache::LoadLayer fills everything of the old entries and score, birth and mass of the new
// ones; the engine writes the new entries' k (rotated at their positions) and v, and attention adds
// its column sums to `score`. FoldLayer only reads, but for `score` after a repetition.
struct LayerPrompt {
  float* k = nullptr;         // [kv_heads][capacity][head_dim], rotated
  float* v = nullptr;         // [kv_heads][capacity][head_dim]
  float* score = nullptr;     // [kv_heads][capacity], S
  uint32_t* birth = nullptr;  // [kv_heads][capacity]
  uint16_t* mass = nullptr;   // [kv_heads][capacity]
  // Null, or [kv_heads][capacity], 0 when loaded: what the prompt's repetition paid to its entries.
  float* repeated = nullptr;
  // Null, or [kv_heads][head_dim][head_dim], 0 when loaded: the moments of the prompt's queries
  // (precision/query_moments.h), by which keys are rounded.
  float* query_moments = nullptr;
  int64_t capacity = 0;  // entries per head; at least SessionCache::PrefillEntries()

  int32_t old_entries = 0;  // per head; of the longest where heads differ
  int32_t new_entries = 0;  // per head: the prompt's tokens

  // [kv_heads]: a head's first entry; what is before it is zero and must not be attended to. Empty:
  // 0 in all heads.
  std::vector<int32_t> first;

  int32_t First(int32_t head) const { return first.empty() ? 0 : first[head]; }
  int32_t entries() const { return old_entries + new_entries; }
};

}  // namespace concertina
