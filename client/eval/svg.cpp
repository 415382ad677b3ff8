#include "client/eval/svg.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace concertina::eval {
namespace {

constexpr double kRadius = 4;

std::string Escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        // XML has no other control characters.
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

std::string Points(const std::vector<XY>& points) {
  std::string text;
  for (const XY& point : points) {
    absl::StrAppendFormat(&text, "%s%.1f,%.1f", text.empty() ? "" : " ", point.x, point.y);
  }
  return text;
}

std::string Stroke(const std::string& colour, double width, const std::string& dash) {
  std::string text =
      absl::StrFormat("fill=\"none\" stroke=\"%s\" stroke-width=\"%.1f\"", colour, width);
  if (!dash.empty()) absl::StrAppend(&text, " stroke-dasharray=\"", dash, "\"");
  return text;
}

}  // namespace

Svg::Svg(double width, double height) : width_(width), height_(height) {}

void Svg::Line(XY from, XY to, const std::string& colour, double width, const std::string& dash) {
  Polyline({from, to}, colour, width, dash);
}

void Svg::Polyline(const std::vector<XY>& points, const std::string& colour, double width,
                   const std::string& dash) {
  absl::StrAppend(&body_, "<polyline points=\"", Points(points), "\" ", Stroke(colour, width, dash),
                  "/>\n");
}

void Svg::Area(const std::vector<XY>& corners, const std::string& colour, double opacity) {
  absl::StrAppendFormat(&body_,
                        "<polygon points=\"%s\" fill=\"%s\" fill-opacity=\"%.2f\" "
                        "stroke=\"none\"/>\n",
                        Points(corners), colour, opacity);
}

void Svg::Mark(Marker marker, XY at, const std::string& colour) {
  const double r = kRadius, d = 1.3 * kRadius;
  switch (marker) {
    case Marker::kCircle:
      absl::StrAppendFormat(&body_, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"%s\"/>\n",
                            at.x, at.y, r, colour);
      return;
    case Marker::kSquare:
      return Area(
          {{at.x - r, at.y - r}, {at.x + r, at.y - r}, {at.x + r, at.y + r}, {at.x - r, at.y + r}},
          colour, 1);
    case Marker::kTriangle:
      return Area({{at.x, at.y - d}, {at.x + d, at.y + r}, {at.x - d, at.y + r}}, colour, 1);
    case Marker::kDiamond:
      return Area({{at.x, at.y - d}, {at.x + d, at.y}, {at.x, at.y + d}, {at.x - d, at.y}}, colour,
                  1);
  }
}

void Svg::Text(XY at, std::string_view text, int size, Anchor anchor, bool turned) {
  const char* const name = anchor == Anchor::kStart    ? "start"
                           : anchor == Anchor::kMiddle ? "middle"
                                                       : "end";
  absl::StrAppendFormat(&body_, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%d\" text-anchor=\"%s\"",
                        at.x, at.y, size, name);
  if (turned) {
    absl::StrAppendFormat(&body_, " transform=\"rotate(-90 %.1f %.1f)\"", at.x, at.y);
  }
  absl::StrAppend(&body_, ">", Escaped(text), "</text>\n");
}

std::string Svg::Finish() const {
  return absl::StrFormat(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"%.0f\" height=\"%.0f\" "
      "viewBox=\"0 0 %.0f %.0f\" font-family=\"Helvetica, Arial, sans-serif\" fill=\"#222222\">\n"
      "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n%s</svg>\n",
      width_, height_, width_, height_, body_);
}

}  // namespace concertina::eval
