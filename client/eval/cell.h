#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace concertina::eval {

// A scored prompt. NLL: mean over the continuation's tokens but the first, in nats; argmax: the
// likeliest token in each of their places.
struct Scores {
  double nll = 0;
  std::vector<int32_t> argmax;
  std::optional<double> data_full_nll;  // what the data says of the full cache
};

struct Probe {
  int after = 0;  // turns said before it was asked, from 1
  int turn = 0;   // whose fact it asks for, from 1
  bool right = false;
};

// A greedy answer.
struct Answer {
  int turn = 0;        // from 1
  bool probe = false;  // asked in a fork after that turn
  bool pictures = false;
  bool apart = false;  // pictures were said in a turn of their own
  std::string kind;
  std::string question;
  std::optional<std::string> expected;
  std::optional<bool> right;  // if the data has the right one
  std::string text;
  std::vector<int32_t> token_ids;
};

// One record measured with one setting: a line of results.jsonl. What compares it with the full
// cache is worked out afterwards, from that cell.
struct Cell {
  std::string key;  // hash of everything the result depends on
  std::string record;
  std::string task;
  std::string setting;
  double share = 0;  // mean payload after folds, of a full cache of 16-bit entries
  double seconds = 0;
  std::optional<Scores> scores;
  std::vector<Probe> probes;
  std::vector<Answer> answers;
};

nlohmann::json ToJson(const Cell& cell);
// INVALID_ARGUMENT if it is none.
absl::StatusOr<Cell> CellFromJson(const nlohmann::json& json);

}  // namespace concertina::eval
