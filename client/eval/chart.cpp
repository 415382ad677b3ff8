#include "client/eval/chart.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_format.h"
#include "client/eval/axis.h"
#include "client/eval/svg.h"

namespace concertina::eval {
namespace {

constexpr double kLeft = 78, kTop = 44, kWidth = 520, kHeight = 360, kBottom = 58, kLegend = 220;
constexpr double kRow = 20;  // of the legend
constexpr int kTextSize = 13, kTitleSize = 16;
constexpr char kGrid[] = "#e4e4e4", kFrame[] = "#666666";
// Okabe and Ito's palette without black (the full cache) and yellow (too pale on white).
constexpr std::array<const char*, 6> kColours{"#0072b2", "#d55e00", "#009e73",
                                              "#cc79a7", "#e69f00", "#56b4e9"};
constexpr std::array<const char*, 3> kDashes{"", "7 4", "2 3"};
constexpr double kBandOpacity = 0.14, kLineWidth = 2;

struct Style {
  const char* colour;
  const char* dash;
  Svg::Marker marker;
};

Style StyleOf(size_t index) {
  return {kColours[index % kColours.size()], kDashes[index / kColours.size() % kDashes.size()],
          static_cast<Svg::Marker>(index % Svg::kMarkers)};
}

std::string Label(double value, bool percent) {
  // Adding 0 makes a negative one positive.
  return percent ? absl::StrFormat("%g %%", std::round(value * 1e6) / 1e4 + 0.0)
                 : absl::StrFormat("%g", std::round(value * 1e6) / 1e6 + 0.0);
}

class Drawing {
 public:
  explicit Drawing(const Chart& chart)
      : chart_(chart),
        svg_(kLeft + kWidth + kLegend, kTop + kHeight + kBottom),
        x_(MakeX(chart)),
        y_(MakeY(chart)) {}

  std::string Draw() {
    DrawAxes();
    // Bands first: no line lies under one.
    for (size_t i = 0; i < chart_.series.size(); ++i) DrawBand(chart_.series[i], StyleOf(i));
    if (chart_.full.has_value()) {
      const double y = y_.At(*chart_.full);
      svg_.Line({kLeft, y}, {kLeft + kWidth, y}, "#000000", kLineWidth, "10 5");
    }
    for (size_t i = 0; i < chart_.series.size(); ++i) DrawLine(chart_.series[i], StyleOf(i));
    DrawLegend();
    return svg_.Finish();
  }

 private:
  static Axis MakeX(const Chart& chart) {
    double low = 1, high = 0;
    for (const auto& series : chart.series) {
      for (const auto& point : series.points) {
        low = std::min(low, point.x);
        high = std::max(high, point.x);
      }
    }
    return Axis::Logarithmic(low, std::max(low, high), kLeft, kLeft + kWidth);
  }

  static Axis MakeY(const Chart& chart) {
    std::vector<double> values;
    if (chart.full.has_value()) values.push_back(*chart.full);
    for (const auto& series : chart.series) {
      for (const auto& point : series.points) {
        values.insert(values.end(), {point.y, point.low, point.high});
      }
    }
    if (values.empty()) values.push_back(1);
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    return chart.logarithmic ? Axis::Logarithmic(*low, *high, kTop + kHeight, kTop)
                             : Axis::Linear(*low, *high, kTop + kHeight, kTop);
  }

  void DrawAxes() {
    const double right = kLeft + kWidth, bottom = kTop + kHeight;
    for (const double tick : x_.Ticks()) {
      const double x = x_.At(tick);
      svg_.Line({x, kTop}, {x, bottom}, kGrid, 1);
      svg_.Text({x, bottom + 18}, Label(tick, true), kTextSize, Svg::Anchor::kMiddle);
    }
    for (const double tick : y_.Ticks()) {
      const double y = y_.At(tick);
      svg_.Line({kLeft, y}, {right, y}, kGrid, 1);
      svg_.Text({kLeft - 8, y + 4}, Label(tick, chart_.percent), kTextSize, Svg::Anchor::kEnd);
    }
    svg_.Polyline({{kLeft, kTop}, {kLeft, bottom}, {right, bottom}}, kFrame, 1);
    svg_.Text({kLeft, kTop - 18}, chart_.title, kTitleSize, Svg::Anchor::kStart);
    svg_.Text({(kLeft + right) / 2, bottom + 44}, chart_.x_label, kTextSize, Svg::Anchor::kMiddle);
    svg_.Text({18, kTop + kHeight / 2}, chart_.y_label, kTextSize, Svg::Anchor::kMiddle, true);
  }

  void DrawBand(const Chart::Series& series, const Style& style) {
    if (series.points.size() < 2) return;
    std::vector<XY> corners;
    for (const auto& point : series.points) corners.push_back({x_.At(point.x), y_.At(point.high)});
    for (auto point = series.points.rbegin(); point != series.points.rend(); ++point) {
      corners.push_back({x_.At(point->x), y_.At(point->low)});
    }
    svg_.Area(corners, style.colour, kBandOpacity);
  }

  void DrawLine(const Chart::Series& series, const Style& style) {
    std::vector<XY> places;
    for (const auto& point : series.points) places.push_back({x_.At(point.x), y_.At(point.y)});
    svg_.Polyline(places, style.colour, kLineWidth, style.dash);
    for (size_t i = 0; i < places.size(); ++i) {
      const double x = places[i].x;
      // What a band says between points, bars say at them.
      svg_.Line({x, y_.At(series.points[i].low)}, {x, y_.At(series.points[i].high)}, style.colour,
                1);
      svg_.Mark(style.marker, places[i], style.colour);
    }
  }

  void DrawLegend() {
    const double x = kLeft + kWidth + 18;
    double y = kTop + 8;
    const auto row = [&](const std::string& name) {
      svg_.Text({x + 36, y + 4}, name, kTextSize, Svg::Anchor::kStart);
      y += kRow;
    };
    if (chart_.full.has_value()) {
      svg_.Line({x, y}, {x + 28, y}, "#000000", kLineWidth, "10 5");
      row("full cache");
    }
    for (size_t i = 0; i < chart_.series.size(); ++i) {
      const Style style = StyleOf(i);
      svg_.Line({x, y}, {x + 28, y}, style.colour, kLineWidth, style.dash);
      svg_.Mark(style.marker, {x + 14, y}, style.colour);
      row(chart_.series[i].name);
    }
  }

  const Chart& chart_;
  Svg svg_;
  const Axis x_, y_;
};

}  // namespace

std::string RenderChart(const Chart& chart) { return Drawing(chart).Draw(); }

}  // namespace concertina::eval
