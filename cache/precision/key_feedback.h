#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace concertina {

// How the rounding of a key's channels is to make up for one another, so that errors cancel in
// the scores: channels are rounded one after another, each to make up for the errors of those
// before as the queries see them. With e M e^T what an error e costs (query_moments.h) and
// M = U D U^T, U unit upper triangular, the cost is sum over k of D_k (e_k + sum_{i<k} e_i U_ik)^2:
// channel k is rounded from x_k - sum_{i<k} e_i U_ik. That is LDLQ (Chee et al., "QuIP", NeurIPS
// 2023) with the queries in the place of a layer's inputs. Immutable; a function of its arguments
// alone, the same on every machine.
class KeyFeedback {
 public:
  // None: every channel is rounded to the nearest.
  KeyFeedback() = default;
  // `moments`: [head_dim][head_dim], the lower triangle. None where they are 0 or not finite.
  KeyFeedback(const float* moments, int32_t head_dim);

  bool none() const { return order_.empty(); }
  // Channels in the order in which they are rounded: those that queries weigh most come first, as
  // all others may make up for their errors.
  std::span<const int32_t> order() const { return order_; }
  // U_ij for all j: what the j-th channel in order, j > i, makes up for of the i-th one's error.
  std::span<const float> Weights(int64_t i) const {
    return std::span<const float>(weights_).subspan(static_cast<size_t>(i) * order_.size(),
                                                    order_.size());
  }

 private:
  std::vector<int32_t> order_;
  std::vector<float> weights_;  // [head_dim][head_dim], in order
};

}  // namespace concertina
