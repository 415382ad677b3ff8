#pragma once

#include <optional>
#include <string>
#include <vector>

namespace concertina::eval {

// Lines over a logarithmic axis of shares, each with a band of confidence.
struct Chart {
  struct Point {
    double x = 0;  // share, positive
    double y = 0, low = 0, high = 0;
  };
  struct Series {
    std::string name;
    std::vector<Point> points;  // by x
  };

  std::string title;
  std::string x_label, y_label;  // with units
  bool percent = false;          // y is a share, shown in percent
  bool logarithmic = false;      // y is; positive then
  std::optional<double> full;    // of the full cache: a dashed line
  std::vector<Series> series;
};

// The chart as an SVG document. Colours that the colour-blind can tell apart (Okabe and Ito 2008),
// markers and dashes for those who see none.
std::string RenderChart(const Chart& chart);

}  // namespace concertina::eval
