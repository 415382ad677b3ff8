#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/image/resize.h"

namespace concertina {

// Fractional bits of a weight: 8 bits of pixel, 2 bits of headroom for negative lobes, 22 of
// weight.
inline constexpr int kWeightBits = 32 - 8 - 2;

// One axis of a resampling: which inputs make up each output, and their weights.
class ResampleTable {
 public:
  // For outputs [begin, begin + count) of `output_size`. Source: Pillow's precompute_coeffs;
  // computed in double in its order of operations, since a last bit may move a rounded weight.
  ResampleTable(int32_t input_size, int32_t output_size, ResizeFilter filter, int32_t begin,
                int32_t count);

  int32_t outputs() const { return static_cast<int32_t>(taps_.size()); }
  // Output `i` (counted from `begin`) is the weighted sum of the inputs from first(i) on.
  int32_t first(int32_t i) const { return taps_[static_cast<size_t>(i)].first; }
  std::span<const int32_t> weights(int32_t i) const {
    const Taps& taps = taps_[static_cast<size_t>(i)];
    return std::span<const int32_t>(weights_).subspan(taps.offset, taps.count);
  }

  // The inputs that any output needs: [inputs_begin, inputs_end).
  int32_t inputs_begin() const { return inputs_begin_; }
  int32_t inputs_end() const { return inputs_end_; }

 private:
  struct Taps {
    int32_t first;
    size_t offset;
    size_t count;
  };
  std::vector<Taps> taps_;
  std::vector<int32_t> weights_;
  int32_t inputs_begin_;
  int32_t inputs_end_;
};

}  // namespace concertina
