#include "client/eval/report.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace concertina::eval {
namespace {

using nlohmann::json;

bool IsCount(const std::string& name) { return name == "lost" || name == "gained"; }

std::string Cell(const Metric& metric) {
  if (IsCount(metric.name)) return absl::StrFormat("%.0f", metric.value);
  std::string text = absl::StrFormat("%.3f", metric.value);
  const Interval& interval = metric.interval;
  if (interval.low < interval.high) {
    absl::StrAppendFormat(&text, " [%.3f, %.3f]", interval.low, interval.high);
  }
  return text;
}

std::string Quoted(const std::string& field) {
  if (field.find_first_of(",\"\r\n") == std::string::npos) return field;
  std::string out = "\"";
  for (const char c : field) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

// The rows from `begin` on that belong to one table, with the same measure and group.
size_t EndOfTable(const std::vector<Row>& rows, size_t begin) {
  size_t end = begin;
  while (end < rows.size() && rows[end].measure == rows[begin].measure &&
         rows[end].group == rows[begin].group) {
    ++end;
  }
  return end;
}

void AddTable(const std::vector<Row>& rows, size_t begin, size_t end, std::string* text) {
  const Row& first = rows[begin];
  const int64_t count = first.metrics.front().count;
  absl::StrAppend(text, text->empty() ? "" : "\n", first.measure, ", ", first.group, ": ",
                  first.records, first.records == 1 ? " record" : " records");
  if (count != first.records) absl::StrAppend(text, ", ", count, " questions");
  absl::StrAppend(text, "\n");
  std::vector<std::vector<std::string>> lines{{"setting", "payload"}};
  for (const Metric& metric : first.metrics) lines[0].push_back(metric.name);
  for (size_t i = begin; i < end; ++i) {
    lines.push_back({rows[i].setting->Name(), absl::StrFormat("%.3f", rows[i].share)});
    for (const Metric& metric : rows[i].metrics) lines.back().push_back(Cell(metric));
    if (rows[i].records != first.records) {
      lines.back().push_back(absl::StrCat("of ", rows[i].records, " only"));
    }
  }
  std::vector<size_t> widths;
  for (const auto& line : lines) {
    widths.resize(std::max(widths.size(), line.size()));
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  for (const auto& line : lines) {
    std::string row;
    for (size_t i = 0; i < line.size(); ++i) {
      absl::StrAppend(&row, "  ", line[i], std::string(widths[i] - line[i].size(), ' '));
    }
    row.erase(row.find_last_not_of(' ') + 1);
    absl::StrAppend(text, row, "\n");
  }
}

}  // namespace

std::string TablesOf(const std::vector<Row>& rows) {
  std::string text;
  for (size_t begin = 0; begin < rows.size();) {
    const size_t end = EndOfTable(rows, begin);
    AddTable(rows, begin, end, &text);
    begin = end;
  }
  return text;
}

json JsonOf(const std::vector<Row>& rows) {
  json list = json::array();
  for (const Row& row : rows) {
    const Setting& setting = *row.setting;
    json metrics = json::object();
    for (const Metric& metric : row.metrics) {
      metrics[metric.name] = {{"value", metric.value},
                              {"low", metric.interval.low},
                              {"high", metric.interval.high},
                              {"count", metric.count}};
    }
    list.push_back({{"measure", row.measure},
                    {"group", row.group},
                    {"policy", setting.policy_name},
                    {"budget", setting.budget_name},
                    {"entry_type", setting.entry_type},
                    {"fold", setting.FoldName()},
                    {"reference", setting.reference},
                    {"payload_share", row.share},
                    {"records", row.records},
                    {"metrics", std::move(metrics)}});
  }
  return list;
}

std::string CsvOf(const std::vector<Row>& rows) {
  std::string text =
      "measure,group,policy,budget,entry_type,fold,reference,payload_share,records,metric,value,"
      "low,high,count\n";
  for (const Row& row : rows) {
    const Setting& setting = *row.setting;
    const std::string head =
        absl::StrCat(row.measure, ",", Quoted(row.group), ",", Quoted(setting.policy_name), ",",
                     setting.budget_name, ",", setting.entry_type, ",", setting.FoldName(), ",",
                     setting.reference ? "true" : "false", ",", row.share, ",", row.records);
    for (const Metric& metric : row.metrics) {
      absl::StrAppend(&text, head, ",", metric.name, ",", metric.value, ",", metric.interval.low,
                      ",", metric.interval.high, ",", metric.count, "\n");
    }
  }
  return text;
}

}  // namespace concertina::eval
