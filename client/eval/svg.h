#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace concertina::eval {

struct XY {
  double x = 0;
  double y = 0;
};

// Writes an SVG 1.1 document of lines, areas and texts. Pixels, y downwards. Texts are escaped.
class Svg {
 public:
  enum class Anchor { kStart, kMiddle, kEnd };
  // Filled shapes of about the same size.
  enum class Marker { kCircle, kSquare, kTriangle, kDiamond };
  static constexpr int kMarkers = 4;

  Svg(double width, double height);

  // `dash`: lengths of strokes and gaps ("6 4"); empty: a whole line.
  void Line(XY from, XY to, const std::string& colour, double width, const std::string& dash = "");
  void Polyline(const std::vector<XY>& points, const std::string& colour, double width,
                const std::string& dash = "");
  void Area(const std::vector<XY>& corners, const std::string& colour, double opacity);
  void Mark(Marker marker, XY at, const std::string& colour);
  // `turned`: reads upwards.
  void Text(XY at, std::string_view text, int size, Anchor anchor, bool turned = false);

  // The document.
  std::string Finish() const;

 private:
  double width_, height_;
  std::string body_;
};

}  // namespace concertina::eval
