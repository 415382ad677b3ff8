#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "client/eval/cell.h"
#include "client/eval/record.h"
#include "client/eval/setting.h"
#include "client/eval/statistics.h"

namespace concertina::eval {

// A figure with its 95 % interval; equal bounds where there is none.
struct Metric {
  std::string name;
  double value = 0;
  Interval interval;
  int64_t count = 0;  // of what it is a mean
};

// One setting measured on one group of a measure's items.
//
// "perplexity", over prompts that weigh equally: `ratio` = exp(mean(nll - full nll)), `agreement` =
// mean share of places with the full cache's argmax (both: bootstrap), `ppl` = exp(mean nll); with
// the full cache `data_error` = largest |full nll - the data's|.
// "probes": `accuracy` (Wilson), `difference` to the full cache (bootstrap over conversations).
// "answers": `same` as with the full cache, token by token (Wilson), `rouge_l` against it
// (bootstrap over chats); where the data has answers `accuracy` (Wilson), `difference` (bootstrap),
// and how many right ones were `lost` and `gained`.
// "alone", of conversations too long for the full cache: `accuracy` of probes and answers (Wilson).
struct Row {
  const Setting* setting = nullptr;
  std::string measure;
  std::string group;    // "all", or a task, a kind, a part of the conversation
  double share = 0;     // payload reached, mean over records
  int64_t records = 0;  // measured with this setting and, but for "alone", with the full cache
  std::vector<Metric> metrics;

  const Metric* Find(const std::string& name) const;
};

// The cell of a record with a setting, or null.
using FindCell = std::function<const Cell*(const Record&, const Setting&)>;

// All rows: by measure, then group ("all" first, then parts of
// conversations, then tasks and kinds), then setting in the given order. The first
// setting is the reference; records that it lacks do not count, but for those that are `too_long`
// for it. `seed`: of the bootstraps.
std::vector<Row> Summarise(const std::vector<Record>& records, const std::vector<Setting>& settings,
                           const FindCell& find, const std::set<const Record*>& too_long,
                           uint64_t seed);

}  // namespace concertina::eval
