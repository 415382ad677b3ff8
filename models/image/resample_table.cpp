#include "models/image/resample_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace concertina {
namespace {

double Bilinear(double x) {
  x = std::abs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

// Keys' cubic convolution with a = -0.5.
double Bicubic(double x) {
  constexpr double kA = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((kA + 2.0) * x - (kA + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * kA;
  return 0.0;
}

double Sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double Lanczos(double x) { return x >= -3.0 && x < 3.0 ? Sinc(x) * Sinc(x / 3.0) : 0.0; }

struct Kernel {
  double (*weight)(double);
  double support;
};

Kernel KernelOf(ResizeFilter filter) {
  switch (filter) {
    case ResizeFilter::kBilinear:
      return {Bilinear, 1.0};
    case ResizeFilter::kBicubic:
      return {Bicubic, 2.0};
    case ResizeFilter::kLanczos:
      break;
  }
  return {Lanczos, 3.0};
}

int32_t ToFixedPoint(double weight) {
  return static_cast<int32_t>(weight * (1 << kWeightBits) + (weight < 0 ? -0.5 : 0.5));
}

}  // namespace

ResampleTable::ResampleTable(int32_t input_size, int32_t output_size, ResizeFilter filter,
                             int32_t begin, int32_t count)
    : inputs_begin_(input_size), inputs_end_(0) {
  const Kernel kernel = KernelOf(filter);
  const double scale = static_cast<double>(input_size) / output_size;
  const double stretch = std::max(scale, 1.0);  // shrinking widens the kernel: antialiasing
  const double support = kernel.support * stretch;
  const double inverse = 1.0 / stretch;
  taps_.reserve(static_cast<size_t>(count));
  std::vector<double> row;
  for (int32_t i = begin; i < begin + count; ++i) {
    const double center = (i + 0.5) * scale;
    const int32_t low = std::max(static_cast<int32_t>(center - support + 0.5), 0);
    const int32_t high = std::min(static_cast<int32_t>(center + support + 0.5), input_size);
    row.clear();
    double sum = 0.0;
    for (int32_t j = 0; j < high - low; ++j) {
      row.push_back(kernel.weight((j + low - center + 0.5) * inverse));
      sum += row.back();
    }
    taps_.push_back({low, weights_.size(), row.size()});
    for (double weight : row) weights_.push_back(ToFixedPoint(sum != 0.0 ? weight / sum : weight));
    inputs_begin_ = std::min(inputs_begin_, low);
    inputs_end_ = std::max(inputs_end_, high);
  }
}

}  // namespace concertina
