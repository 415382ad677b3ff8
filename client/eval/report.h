#pragma once

#include <string>
#include <vector>

#include "client/eval/summary.h"
#include "nlohmann/json.hpp"

namespace concertina::eval {

// The rows as tables, one for each measure and group.
std::string TablesOf(const std::vector<Row>& rows);

// A list with an object for every row: {measure, group, policy, budget, entry_type, fold,
// reference, payload_share, records, metrics: {name: {value, low, high, count}}}.
nlohmann::json JsonOf(const std::vector<Row>& rows);

// A line for every metric of every row (RFC 4180), with a header.
std::string CsvOf(const std::vector<Row>& rows);

}  // namespace concertina::eval
