#pragma once

#include <cstdint>
#include <vector>

namespace concertina {

// Rotary position embedding, HF LlamaRotaryEmbedding (default rope type) with the half-split
// pairing: (x1, x2) = (x[i], x[i + head_dim/2]) becomes (x1 cos - x2 sin, x2 cos + x1 sin) for the
// angle float(position) * inv_freq[i], with inv_freq, angles, cosines and sines in f32 as HF
// computes them.
//
// Keeps cosines and sines of the positions seen so far (8 bytes x head_dim/2 each, up to position
// 16,383; later ones are computed on each use). Owned by the engine thread.
class RopeTable {
 public:
  // head_dim: even, at least 2. theta: the model's rope base.
  RopeTable(int64_t head_dim, double theta);

  // Rotates, in place, `rows` rows of `heads` adjacent heads [heads, head_dim]; rows are
  // `row_stride` floats apart and positions[r] is row r's position (negative ones rotate back).
  // sign = -1 undoes a rotation.
  void Rotate(float* x, int64_t rows, int64_t heads, int64_t row_stride, const int32_t* positions,
              float sign = 1.0f) const;

  int64_t head_dim() const { return head_dim_; }
  // Memory held by the table, in bytes.
  int64_t bytes() const;

 private:
  void Cover(int64_t positions) const;

  int64_t head_dim_;
  std::vector<float> inv_freq_;
  // [position][cos of head_dim/2, then sin of head_dim/2]
  mutable std::vector<float> table_;
};

}  // namespace concertina
