#include "client/eval/comparison.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace concertina::eval {
namespace {

using Groups = std::vector<std::string>;

constexpr char kAfterTurn[] = "after turn ";
constexpr char kFirstTurn[] = "first turn", kLaterTurns[] = "later turns", kProbes[] = "probes";
constexpr char kNoPicture[] = "no picture", kApart[] = "picture apart",
               kWithQuestion[] = "picture with question";

// Sums over the items of one record, for all records.
class Sums {
 public:
  void Add(double value, double weight) {
    parts_.back().sum += value;
    parts_.back().weight += weight;
  }
  void NextRecord() { parts_.emplace_back(); }
  double mean() const { return Mean(parts_); }
  int64_t count() const { return std::llround(Total(&Part::weight)); }

  Metric WithBootstrap(const char* name, uint64_t seed) const {
    return {name, mean(), Bootstrap(parts_, seed), count()};
  }
  Metric WithWilson(const char* name) const {
    return {name, mean(), Wilson(std::llround(Total(&Part::sum)), count()), count()};
  }
  // Of logarithms.
  Metric AsRatio(const char* name, uint64_t seed) const {
    const Interval logs = Bootstrap(parts_, seed);
    return {name, std::exp(mean()), {std::exp(logs.low), std::exp(logs.high)}, count()};
  }
  Metric AsTotal(const char* name) const {
    const double total = Total(&Part::sum);
    return {name, total, {total, total}, count()};
  }

 private:
  double Total(double Part::*member) const {
    double total = 0;
    for (const Part& part : parts_) total += part.*member;
    return total;
  }
  std::vector<Part> parts_;
};

bool In(const Groups& groups, const std::string& group) {
  return group.empty() || std::find(groups.begin(), groups.end(), group) != groups.end();
}

Groups GroupsOf(const Cell& cell, const Probe& probe) {
  return {cell.task, absl::StrCat(kAfterTurn, probe.after)};
}

Groups GroupsOf(const Cell& cell, const Answer& answer) {
  Groups groups{cell.task};
  if (!answer.kind.empty() && answer.kind != cell.task) groups.push_back(answer.kind);
  groups.emplace_back(answer.probe ? kProbes : answer.turn == 1 ? kFirstTurn : kLaterTurns);
  groups.emplace_back(!answer.pictures ? kNoPicture : answer.apart ? kApart : kWithQuestion);
  return groups;
}

// Share of the places with the same likeliest token.
double Agreement(const Scores& one, const Scores& other) {
  const size_t places = std::min(one.argmax.size(), other.argmax.size());
  int64_t equal = 0;
  for (size_t i = 0; i < places; ++i) equal += one.argmax[i] == other.argmax[i] ? 1 : 0;
  return places > 0 ? static_cast<double>(equal) / static_cast<double>(places) : 0;
}

void CompareScores(const std::vector<CellPair>& pairs, bool reference, uint64_t seed, Row& row) {
  Sums excess, agreement, nll;
  double error = 0;
  bool known = false;
  for (const auto& [cell, full] : pairs) {
    for (Sums* sums : {&excess, &agreement, &nll}) sums->NextRecord();
    excess.Add(cell->scores->nll - full->scores->nll, 1);
    agreement.Add(Agreement(*cell->scores, *full->scores), 1);
    nll.Add(cell->scores->nll, 1);
    if (full->scores->data_full_nll.has_value()) {
      known = true;
      error = std::max(error, std::abs(full->scores->nll - *full->scores->data_full_nll));
    }
  }
  row.metrics = {excess.AsRatio("ratio", seed), agreement.WithBootstrap("agreement", seed),
                 nll.AsRatio("ppl", seed)};
  if (reference && known) row.metrics.push_back({"data_error", error, {error, error}, row.records});
}

void CompareProbes(const std::vector<CellPair>& pairs, const std::string& group, uint64_t seed,
                   Row& row) {
  Sums right, difference;
  for (const auto& [cell, full] : pairs) {
    right.NextRecord();
    difference.NextRecord();
    for (size_t i = 0; i < std::min(cell->probes.size(), full->probes.size()); ++i) {
      if (!In(GroupsOf(*cell, cell->probes[i]), group)) continue;
      const int own = cell->probes[i].right ? 1 : 0;
      right.Add(own, 1);
      difference.Add(own - (full->probes[i].right ? 1 : 0), 1);
    }
  }
  row.metrics = {right.WithWilson("accuracy"), difference.WithBootstrap("difference", seed)};
}

void CompareAnswers(const std::vector<CellPair>& pairs, const std::string& group, uint64_t seed,
                    Row& row) {
  Sums same, rouge, right, difference, lost, gained;
  for (const auto& [cell, full] : pairs) {
    for (Sums* sums : {&same, &rouge, &right, &difference, &lost, &gained}) sums->NextRecord();
    for (size_t i = 0; i < std::min(cell->answers.size(), full->answers.size()); ++i) {
      const Answer& own = cell->answers[i];
      const Answer& other = full->answers[i];
      if (!In(GroupsOf(*cell, own), group)) continue;
      same.Add(own.token_ids == other.token_ids ? 1 : 0, 1);
      rouge.Add(RougeL(own.token_ids, other.token_ids), 1);
      if (!own.right.has_value() || !other.right.has_value()) continue;
      right.Add(*own.right ? 1 : 0, 1);
      difference.Add((*own.right ? 1 : 0) - (*other.right ? 1 : 0), 1);
      lost.Add(!*own.right && *other.right ? 1 : 0, 1);
      gained.Add(*own.right && !*other.right ? 1 : 0, 1);
    }
  }
  row.metrics = {same.WithWilson("same"), rouge.WithBootstrap("rouge_l", seed)};
  if (right.count() == 0) return;
  row.metrics.push_back(right.WithWilson("accuracy"));
  row.metrics.push_back(difference.WithBootstrap("difference", seed));
  row.metrics.push_back(lost.AsTotal("lost"));
  row.metrics.push_back(gained.AsTotal("gained"));
}

void CountRight(const std::vector<CellPair>& pairs, const std::string& group, Row& row) {
  Sums right;
  right.NextRecord();
  for (const auto& [cell, full] : pairs) {
    for (const Probe& probe : cell->probes) {
      if (In(GroupsOf(*cell, probe), group)) right.Add(probe.right ? 1 : 0, 1);
    }
    for (const Answer& answer : cell->answers) {
      if (!answer.right.has_value() || !In(GroupsOf(*cell, answer), group)) continue;
      right.Add(*answer.right ? 1 : 0, 1);
    }
  }
  if (right.count() > 0) row.metrics = {right.WithWilson("accuracy")};
}

}  // namespace

bool IsPart(const std::string& group) {
  const auto parts = {kFirstTurn, kLaterTurns, kProbes, kNoPicture, kApart, kWithQuestion};
  return group.rfind(kAfterTurn, 0) == 0 ||
         std::find(parts.begin(), parts.end(), group) != parts.end();
}

std::vector<Groups> ItemGroups(const Cell& cell) {
  std::vector<Groups> items;
  if (cell.scores.has_value()) items.push_back({cell.task});
  for (const Probe& probe : cell.probes) items.push_back(GroupsOf(cell, probe));
  for (const Answer& answer : cell.answers) items.push_back(GroupsOf(cell, answer));
  return items;
}

void Compare(const std::vector<CellPair>& pairs, const std::string& group, bool reference,
             uint64_t seed, Row& row) {
  std::vector<CellPair> members;
  for (const CellPair& pair : pairs) {
    const auto items = ItemGroups(*pair.cell);
    const bool member = std::any_of(items.begin(), items.end(),
                                    [&](const Groups& groups) { return In(groups, group); });
    if (!member) continue;
    members.push_back(pair);
    row.share += pair.cell->share;
  }
  row.records = static_cast<int64_t>(members.size());
  if (members.empty()) return;
  row.share /= static_cast<double>(members.size());
  if (row.measure == "perplexity") return CompareScores(members, reference, seed, row);
  if (row.measure == "probes") return CompareProbes(members, group, seed, row);
  if (row.measure == "alone") return CountRight(members, group, row);
  CompareAnswers(members, group, seed, row);
}

}  // namespace concertina::eval
