#pragma once

#include <cstdint>

namespace concertina {

// One layer's working set during a prefill: the entries the layer kept, in birth order, followed by
// the prompt's. The engine owns the memory (one workspace serves all layers and sessions, f32);
// strides are `capacity` entries per KV head.
//
// SessionCache::LoadLayer fills everything of the old entries and score, birth and mass of the new
// ones; the engine writes the new entries' k (rotated at their positions) and v, and attention adds
// its column sums to `score`. FoldLayer only reads.
struct LayerPrompt {
  float* k = nullptr;         // [kv_heads][capacity][head_dim], rotated
  float* v = nullptr;         // [kv_heads][capacity][head_dim]
  float* score = nullptr;     // [kv_heads][capacity], S
  uint32_t* birth = nullptr;  // [kv_heads][capacity]
  uint16_t* mass = nullptr;   // [kv_heads][capacity]
  int64_t capacity = 0;       // entries per head; at least SessionCache::PrefillEntries()

  int32_t old_entries = 0;  // per head; the same in every head of a layer
  int32_t new_entries = 0;  // per head: the prompt's tokens

  int32_t entries() const { return old_entries + new_entries; }
};

}  // namespace concertina
