#include "client/eval/axis.h"

#include <algorithm>
#include <cmath>

namespace concertina::eval {
namespace {

constexpr double kMargin = 0.04;     // of the span, at both ends
constexpr double kLeastSpan = 0.05;  // of the values, so that a single one has an axis
constexpr size_t kMostTicks = 10;

// Mantissas of round numbers, the finest set first.
const std::vector<std::vector<double>> kMantissas{
    {1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 7, 8, 9},
    {1, 1.2, 1.5, 2, 3, 4, 5, 7},
    {1, 2, 3, 5, 7},
    {1, 2, 5},
    {1}};

double Step(double span) {
  const double decade = std::pow(10, std::floor(std::log10(span)));
  for (const double step : {0.1, 0.2, 0.5}) {
    if (span / (step * decade) < kMostTicks) return step * decade;
  }
  return decade;
}

}  // namespace

Axis::Axis(bool logarithmic, double low, double high, double from, double to)
    : logarithmic_(logarithmic), low_(low), high_(high), from_(from), to_(to) {
  const double middle = (low + high) / 2, half = std::max(high - low, kLeastSpan) / 2;
  low_ = middle - half * (1 + 2 * kMargin);
  high_ = middle + half * (1 + 2 * kMargin);
}

Axis Axis::Linear(double low, double high, double from, double to) {
  return {false, low, high, from, to};
}

Axis Axis::Logarithmic(double low, double high, double from, double to) {
  return {true, std::log(low), std::log(high), from, to};
}

double Axis::At(double value) const {
  const double place = logarithmic_ ? std::log(value) : value;
  return from_ + (place - low_) / (high_ - low_) * (to_ - from_);
}

std::vector<double> Axis::Ticks() const {
  std::vector<double> ticks;
  if (!logarithmic_) {
    const double step = Step(high_ - low_);
    for (double i = std::ceil(low_ / step); i * step <= high_; ++i) ticks.push_back(i * step);
    return ticks;
  }
  for (const auto& mantissas : kMantissas) {
    ticks.clear();
    for (double decade = std::floor(low_ / std::log(10)); decade * std::log(10) <= high_;
         ++decade) {
      for (const double mantissa : mantissas) {
        const double value = mantissa * std::pow(10, decade);
        if (std::log(value) >= low_ && std::log(value) <= high_) ticks.push_back(value);
      }
    }
    if (ticks.size() <= kMostTicks) break;
  }
  if (ticks.empty()) ticks.push_back(std::exp((low_ + high_) / 2));
  return ticks;
}

}  // namespace concertina::eval
