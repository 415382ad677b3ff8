#pragma once

#include <string>
#include <vector>

namespace concertina::eval {

// Maps values to pixels, and knows where round numbers lie.
class Axis {
 public:
  // Covers [low, high] with some room; `from` and `to` are the pixels of the ends.
  static Axis Linear(double low, double high, double from, double to);
  // Of positive values.
  static Axis Logarithmic(double low, double high, double from, double to);

  double At(double value) const;
  // Round values inside, ascending, at least one and at most ten.
  std::vector<double> Ticks() const;

 private:
  Axis(bool logarithmic, double low, double high, double from, double to);

  bool logarithmic_;
  double low_, high_;  // logarithms if logarithmic_
  double from_, to_;
};

}  // namespace concertina::eval
