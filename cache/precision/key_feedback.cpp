#include "cache/precision/key_feedback.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cache/precision/isa_clones.h"

namespace concertina {
namespace {

// Of the mean diagonal, added to it: the queries to come are not quite those that were seen.
constexpr double kDamping = 0.03;

// h = U D U^T from the last column on; the upper triangle of h becomes U, its diagonal D.
CONCERTINA_ISA_CLONES
void Factorise(size_t d, std::vector<double>* h) {
  std::vector<double> column(d);
  for (size_t k = d; k-- > 0;) {
    const double pivot = (*h)[k * d + k];
    for (size_t i = 0; i < k; ++i) {
      column[i] = (*h)[i * d + k];
      (*h)[i * d + k] = column[i] / pivot;
    }
    for (size_t i = 0; i < k; ++i) {
      const double factor = (*h)[i * d + k];
      for (size_t j = i; j < k; ++j) (*h)[i * d + j] -= factor * column[j];
    }
  }
}

}  // namespace

KeyFeedback::KeyFeedback(const float* moments, int32_t head_dim) {
  const auto d = static_cast<size_t>(head_dim);
  double trace = 0;
  for (size_t i = 0; i < d; ++i) trace += static_cast<double>(moments[i * d + i]);
  if (!(trace > 0) || !std::isfinite(trace)) return;
  order_.resize(d);
  std::iota(order_.begin(), order_.end(), 0);
  std::stable_sort(order_.begin(), order_.end(),
                   [&](int32_t a, int32_t b) { return moments[a * d + a] > moments[b * d + b]; });
  std::vector<double> h(d * d);
  for (size_t i = 0; i < d; ++i) {
    for (size_t j = i; j < d; ++j) {
      const auto [low, high] = std::minmax(order_[i], order_[j]);
      h[i * d + j] = static_cast<double>(moments[high * d + low]);
    }
    h[i * d + i] += kDamping * trace / static_cast<double>(d);
  }
  Factorise(d, &h);
  weights_.reserve(h.size());
  for (const double weight : h) weights_.push_back(static_cast<float>(weight));
}

}  // namespace concertina
