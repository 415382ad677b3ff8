#pragma once

#include <cstdint>
#include <vector>

namespace concertina {

// Numbers in [-0.5, 0.5), the same in every run.
inline std::vector<float> Noise(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  uint32_t state = 1;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
  }
  return values;
}

}  // namespace concertina
