#pragma once

#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "tests/campaigns/stage.h"

namespace concertina::testing {

// How a condition of docs/api.md is brought about, over gRPC against a real server process.
struct StatusRow {
  std::string condition;  // as documented
  std::string code, reason;
  // Every outcome must have the code, the reason and the details that go with them.
  std::function<std::vector<Outcome>()> provoke;
  std::vector<std::string> fields;  // that the outcomes name, one each; none without BadRequest
  bool may_be_tried_again = false;  // RetryInfo and its trailer

  friend void PrintTo(const StatusRow& row, std::ostream* out) { *out << row.condition; }
};

std::vector<StatusRow> RequestRows();   // what the client got wrong
std::vector<StatusRow> CapacityRows();  // what the server has no room for
std::vector<StatusRow> EndRows();       // what ends a turn, and faults

// A session id nobody has.
inline constexpr char kNobody[] = "0b9e4c1e-57d0-4b8a-9c3e-3f2b6a7d8e90";

}  // namespace concertina::testing
