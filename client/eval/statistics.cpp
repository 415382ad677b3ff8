#include "client/eval/statistics.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace concertina::eval {
namespace {

constexpr int kResamples = 2000;
constexpr double kTail = 0.025;
constexpr double kNormal = 1.959963984540054;  // quantile 0.975

// Uniform in [0, count): the library's own distributions differ between implementations.
size_t Draw(std::mt19937_64& random, size_t count) { return static_cast<size_t>(random() % count); }

}  // namespace

double Mean(std::span<const Part> parts) {
  Part all;
  for (const Part& part : parts) {
    all.sum += part.sum;
    all.weight += part.weight;
  }
  return all.weight > 0 ? all.sum / all.weight : 0;
}

Interval Bootstrap(std::span<const Part> parts, uint64_t seed) {
  if (parts.size() < 2) return {Mean(parts), Mean(parts)};
  std::mt19937_64 random(seed);
  std::vector<double> means(kResamples);
  std::vector<Part> drawn(parts.size());
  for (double& mean : means) {
    for (Part& part : drawn) part = parts[Draw(random, parts.size())];
    mean = Mean(drawn);
  }
  std::sort(means.begin(), means.end());
  const auto tail = static_cast<size_t>(kTail * kResamples);
  return {means[tail], means[kResamples - 1 - tail]};
}

Interval Wilson(int64_t right, int64_t total) {
  if (total == 0) return {0, 1};
  const auto n = static_cast<double>(total);
  const double share = static_cast<double>(right) / n, square = kNormal * kNormal;
  const double middle = share + square / (2 * n);
  const double spread = kNormal * std::sqrt(share * (1 - share) / n + square / (4 * n * n));
  const double scale = 1 + square / n;
  return {std::max(0.0, (middle - spread) / scale), std::min(1.0, (middle + spread) / scale)};
}

double RougeL(std::span<const int32_t> one, std::span<const int32_t> other) {
  if (one.empty() && other.empty()) return 1;
  // longest[j]: of the tokens of `one` so far and the first j of `other`.
  std::vector<int> longest(other.size() + 1);
  for (const int32_t token : one) {
    int diagonal = 0;
    for (size_t j = 0; j < other.size(); ++j) {
      const int above = longest[j + 1];
      longest[j + 1] = token == other[j] ? diagonal + 1 : std::max(above, longest[j]);
      diagonal = above;
    }
  }
  return 2.0 * longest.back() / static_cast<double>(one.size() + other.size());
}

}  // namespace concertina::eval
