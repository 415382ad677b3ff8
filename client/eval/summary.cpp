#include "client/eval/summary.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "client/eval/comparison.h"

namespace concertina::eval {
namespace {

constexpr char kAll[] = "all", kAlone[] = "alone";

const char* MeasureOf(const Record& record) {
  if (std::holds_alternative<ScoredPrompt>(record.content)) return "perplexity";
  return std::holds_alternative<ProbedConversation>(record.content) ? "probes" : "answers";
}

// Groups of the records' items: "all", parts of conversations, then tasks and kinds, each in the
// order of their first appearance.
std::vector<std::string> GroupsOf(const std::vector<const Record*>& records,
                                  const std::function<const Cell*(const Record&)>& reference) {
  std::vector<std::string> groups{kAll};
  std::map<std::string, int64_t> items{{kAll, 0}};
  for (const Record* record : records) {
    const Cell* cell = reference(*record);
    if (cell == nullptr) continue;
    for (const auto& item_groups : ItemGroups(*cell)) {
      ++items[kAll];
      for (const std::string& group : item_groups) {
        if (items[group]++ == 0) groups.push_back(group);
      }
    }
  }
  std::stable_partition(groups.begin() + 1, groups.end(), IsPart);
  // A group of everything says nothing new.
  std::erase_if(groups, [&](const std::string& group) {
    return group != kAll && items[group] == items[kAll];
  });
  return groups;
}

}  // namespace

const Metric* Row::Find(const std::string& name) const {
  const auto found = std::find_if(metrics.begin(), metrics.end(),
                                  [&](const Metric& metric) { return metric.name == name; });
  return found == metrics.end() ? nullptr : &*found;
}

std::vector<Row> Summarise(const std::vector<Record>& records, const std::vector<Setting>& settings,
                           const FindCell& find, const std::set<const Record*>& too_long,
                           uint64_t seed) {
  std::vector<Row> rows;
  const Setting& reference = settings.front();
  for (const std::string measure : {"perplexity", "probes", "answers", kAlone}) {
    std::vector<const Record*> own;
    for (const Record& record : records) {
      const std::string of = too_long.contains(&record) ? kAlone : MeasureOf(record);
      if (of == measure) own.push_back(&record);
    }
    const auto full = [&](const Record& record) { return find(record, reference); };
    const auto any = [&](const Record& record) -> const Cell* {
      for (const Setting& setting : settings) {
        if (const Cell* cell = find(record, setting)) return cell;
      }
      return nullptr;
    };
    for (const std::string& group : measure == kAlone ? GroupsOf(own, any) : GroupsOf(own, full)) {
      for (const Setting& setting : settings) {
        std::vector<CellPair> pairs;
        for (const Record* record : own) {
          const Cell* cell = find(*record, setting);
          const Cell* other = full(*record);
          if (cell != nullptr && (other != nullptr || measure == kAlone)) {
            pairs.push_back({cell, other});
          }
        }
        Row row{.setting = &setting, .measure = measure, .group = group};
        Compare(pairs, group == kAll ? "" : group, setting.reference, seed, row);
        if (!row.metrics.empty()) rows.push_back(std::move(row));
      }
    }
  }
  return rows;
}

}  // namespace concertina::eval
