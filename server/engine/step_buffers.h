#pragma once

#include <cstdint>
#include <vector>

#include "models/kernels/workspace.h"

namespace concertina {

// Grow-only scratch of the engine thread, reused by every step: nothing is allocated once the
// largest prompt and batch have been seen.
struct StepBuffers {
  std::vector<float> hidden;     // [rows, hidden]: residual stream
  std::vector<float> attention;  // [rows, heads * head_dim]
  std::vector<float> logits;     // [rows, vocab]
  std::vector<float> adapter;    // [rows]: 1 where the low-rank adapter acts
  std::vector<int32_t> positions;
  Workspace workspace;  // the attention kernels' own

  int64_t bytes() const;
};

// At least n elements; the contents are not kept.
template <typename T>
T* Grow(std::vector<T>& buffer, int64_t n) {
  if (static_cast<int64_t>(buffer.size()) < n) {
    buffer.clear();
    buffer.resize(static_cast<size_t>(n));
  }
  return buffer.data();
}

inline int64_t StepBuffers::bytes() const {
  const size_t floats =
      hidden.capacity() + attention.capacity() + logits.capacity() + adapter.capacity();
  return static_cast<int64_t>(floats * sizeof(float)) + workspace.bytes();
}

}  // namespace concertina
