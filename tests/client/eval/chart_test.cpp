#include "client/eval/chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "client/eval/axis.h"
#include "client/eval/plots.h"
#include "client/eval/svg.h"

namespace concertina::eval {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// Why a text is not well-formed XML, as far as our documents go: elements closed in order,
// attributes in quotes, nothing unescaped. Empty if it is.
std::string Fault(const std::string& xml) {
  std::vector<std::string> open;
  for (size_t at = 0; at < xml.size();) {
    if (xml[at] == '&') {
      const size_t end = xml.find(';', at);
      const std::string name = xml.substr(at, end - at);
      if (name != "&amp" && name != "&lt" && name != "&gt" && name != "&quot") return "bad " + name;
      at = end;
    }
    if (xml[at] == '>') return "stray >";
    if (xml[at] != '<') {
      ++at;
      continue;
    }
    const size_t end = xml.find('>', at);
    if (end == std::string::npos) return "no end of a tag";
    const std::string tag = xml.substr(at + 1, end - at - 1);
    at = end + 1;
    if (tag.find('<') != std::string::npos) return "< in " + tag;
    if (std::count(tag.begin(), tag.end(), '"') % 2 != 0) return "quotes of " + tag;
    if (tag.front() == '?') continue;
    if (tag.front() == '/') {
      if (open.empty() || open.back() != tag.substr(1)) return "closes " + tag;
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(tag.substr(0, tag.find(' ')));
    }
  }
  return open.empty() ? "" : "left open: " + open.back();
}

int Count(const std::string& text, const std::string& what) {
  int count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST(SvgTest, EscapesTexts) {
  Svg svg(100, 50);
  svg.Text({1, 2}, "a < b & \"c\" > d\x01", 12, Svg::Anchor::kMiddle, true);
  svg.Line({0, 0}, {1, 1}, "#000000", 1, "4 2");
  for (int i = 0; i < Svg::kMarkers; ++i) svg.Mark(static_cast<Svg::Marker>(i), {5, 5}, "#ffffff");
  const std::string text = svg.Finish();
  EXPECT_EQ(Fault(text), "") << text;
  EXPECT_THAT(text, HasSubstr("a &lt; b &amp; &quot;c&quot; &gt; d </text>"));
  EXPECT_THAT(text, HasSubstr("rotate(-90 1.0 2.0)"));
  EXPECT_THAT(text, HasSubstr("stroke-dasharray=\"4 2\""));
}

TEST(AxisTest, MapsEndsInsideAndHasRoundTicks) {
  const Axis linear = Axis::Linear(0, 1, 0, 100);
  EXPECT_NEAR(linear.At(0.5), 50, 1e-9);
  EXPECT_GT(linear.At(0), 0);
  EXPECT_LT(linear.At(1), 100);
  ASSERT_EQ(linear.Ticks().size(), 6u);
  EXPECT_NEAR(linear.Ticks()[1], 0.2, 1e-12);
  // Upwards on a screen.
  const Axis ratios = Axis::Logarithmic(1, 16, 400, 0);
  EXPECT_NEAR(ratios.At(4), 200, 1e-9);
  EXPECT_GT(ratios.At(1), ratios.At(16));
  EXPECT_THAT(ratios.Ticks(), ElementsAre(1, 2, 3, 5, 7, 10));
  // A single value has an axis too.
  const Axis one = Axis::Logarithmic(1, 1, 0, 100);
  EXPECT_NEAR(one.At(1), 50, 1e-9);
  EXPECT_FALSE(one.Ticks().empty());
}

Chart TwoLines() {
  Chart chart{
      .title = "Perplexity", .x_label = "payload, %", .y_label = "ratio", .logarithmic = true};
  chart.full = 1.0;
  chart.series = {{"h2o", {{0.1, 4, 3, 5}, {0.5, 1.5, 1.2, 2}}},
                  {"<concertina>", {{0.1, 3, 2.5, 3.5}, {0.5, 1.2, 1.1, 1.4}}}};
  return chart;
}

TEST(ChartTest, DrawsEveryLineWithItsBandAndTheFullCache) {
  const std::string svg = RenderChart(TwoLines());
  EXPECT_EQ(Fault(svg), "") << svg;
  for (const char* text : {"Perplexity", "payload, %", "ratio", "full cache", "h2o",
                           "&lt;concertina&gt;", ">10 %<", ">50 %<"}) {
    EXPECT_THAT(svg, HasSubstr(text));
  }
  EXPECT_EQ(Count(svg, "fill-opacity=\"0.14\""), 2);
  EXPECT_EQ(Count(svg, "stroke-dasharray=\"10 5\""), 2);  // in the plot and in the legend
  EXPECT_EQ(RenderChart(TwoLines()), svg);
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(ChartTest, OnePointIsEnough) {
  Chart chart{.percent = true};
  chart.series = {{"h2o", {{0.2, 1, 1, 1}}}};
  const std::string svg = RenderChart(chart);
  EXPECT_EQ(Fault(svg), "");
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, HasSubstr(">100 %<"));
}

TEST(PlotsTest, HaveALineForEveryPolicyAndEntryType) {
  const auto settings = *MakeSettings({.policies = {"h2o", "local"},
                                       .budgets = {"0.5", "0.1"},
                                       .entry_types = {"default", "int8"}});
  std::vector<Row> rows;
  for (const Setting& setting : settings) {
    const double share = setting.reference ? 2 : setting.budget.ratio();
    rows.push_back({.setting = &setting,
                    .measure = "answers",
                    .group = "where is it?",
                    .share = share,
                    .records = 3,
                    .metrics = {{"same", share / 2, {0, 1}, 9}}});
  }
  const auto plots = MakePlots(rows);
  ASSERT_EQ(plots.size(), 1u);
  EXPECT_EQ(plots[0].file, "answers-same-where-is-it-.svg");
  EXPECT_EQ(Fault(plots[0].svg), "");
  for (const char* name : {">h2o<", ">h2o int8<", ">local<", ">local int8<", "n = 9"}) {
    EXPECT_THAT(plots[0].svg, HasSubstr(name));
  }
  EXPECT_EQ(Count(plots[0].svg, "fill-opacity=\"0.14\""), 4);
  // Nothing but the full cache is no plot.
  EXPECT_TRUE(MakePlots({rows[0]}).empty());
}

}  // namespace
}  // namespace concertina::eval
