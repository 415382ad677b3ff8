#include "client/eval/plots.h"

#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/eval/chart.h"

namespace concertina::eval {
namespace {

constexpr char kPayload[] =
    "payload of the cache after folding, % of a full one with 16-bit entries";

struct PlotKind {
  const char* measure;
  const char* metric;
  const char* title;
  const char* label;  // of the y axis
  bool percent, logarithmic;
};
constexpr PlotKind kKinds[] = {
    {"perplexity", "ratio", "Perplexity", "perplexity / full cache's (ratio)", false, true},
    {"perplexity", "agreement", "Agreement of the likeliest token",
     "places with the full cache's token, %", true, false},
    {"probes", "accuracy", "Facts of earlier turns", "probes answered right, %", true, false},
    {"answers", "same", "Same answer as with the full cache", "same answers, %", true, false},
    {"answers", "rouge_l", "Answers against the full cache's", "ROUGE-L F1 (0 to 1)", false, false},
    {"answers", "accuracy", "Right answers", "answered right, %", true, false},
    {"alone", "accuracy", "Right answers past the trained context", "answered right, %", true,
     false},
};

std::string FileName(const PlotKind& kind, const std::string& group) {
  std::string name = absl::StrCat(kind.measure, "-", kind.metric);
  if (group != "all") absl::StrAppend(&name, "-", group);
  for (char& c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '-') c = '-';
  }
  return name + ".svg";
}

Chart MakeChart(const PlotKind& kind, const std::string& group, const std::vector<Row>& rows) {
  Chart chart{.x_label = kPayload,
              .y_label = kind.label,
              .percent = kind.percent,
              .logarithmic = kind.logarithmic};
  int64_t count = 0;
  for (const Row& row : rows) {
    const Metric* metric = row.Find(kind.metric);
    if (row.measure != kind.measure || row.group != group || metric == nullptr) continue;
    if (row.setting->reference) {
      chart.full = metric->value;
      count = metric->count;
      continue;
    }
    if (row.share <= 0) continue;
    count = std::max(count, metric->count);
    const std::string name = row.setting->LineName();
    auto line = std::find_if(chart.series.begin(), chart.series.end(),
                             [&](const Chart::Series& series) { return series.name == name; });
    if (line == chart.series.end()) line = chart.series.insert(line, {.name = name});
    line->points.push_back({row.share, metric->value, metric->interval.low, metric->interval.high});
  }
  chart.title = absl::StrCat(kind.title, group == "all" ? "" : ": " + group, " (n = ", count,
                             ", bands: 95 %)");
  for (Chart::Series& series : chart.series) {
    std::sort(series.points.begin(), series.points.end(),
              [](const auto& one, const auto& other) { return one.x < other.x; });
  }
  return chart;
}

}  // namespace

std::vector<Plot> MakePlots(const std::vector<Row>& rows) {
  std::vector<Plot> plots;
  for (const PlotKind& kind : kKinds) {
    std::vector<std::string> groups;
    for (const Row& row : rows) {
      const bool known = std::find(groups.begin(), groups.end(), row.group) != groups.end();
      if (row.measure == kind.measure && !known) groups.push_back(row.group);
    }
    for (const std::string& group : groups) {
      const Chart chart = MakeChart(kind, group, rows);
      if (!chart.series.empty()) plots.push_back({FileName(kind, group), RenderChart(chart)});
    }
  }
  return plots;
}

}  // namespace concertina::eval
