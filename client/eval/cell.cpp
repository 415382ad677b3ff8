#include "client/eval/cell.h"

#include <utility>

namespace concertina::eval {
namespace {

using nlohmann::json;

json ToJson(const Scores& scores) {
  json out = {{"nll", scores.nll}, {"argmax", scores.argmax}};
  if (scores.data_full_nll.has_value()) out["data_full_nll"] = *scores.data_full_nll;
  return out;
}

json ToJson(const Answer& answer) {
  json out = {{"turn", answer.turn},         {"probe", answer.probe},
              {"pictures", answer.pictures}, {"apart", answer.apart},
              {"kind", answer.kind},         {"question", answer.question},
              {"answer", answer.text},       {"token_ids", answer.token_ids}};
  if (answer.expected.has_value()) out["expected"] = *answer.expected;
  if (answer.right.has_value()) out["right"] = *answer.right;
  return out;
}

Scores ScoresFrom(const json& in) {
  Scores scores;
  in.at("nll").get_to(scores.nll);
  in.at("argmax").get_to(scores.argmax);
  if (in.contains("data_full_nll")) scores.data_full_nll = in["data_full_nll"].get<double>();
  return scores;
}

Probe ProbeFrom(const json& in) {
  return {.after = in.at("after").get<int>(),
          .turn = in.at("turn").get<int>(),
          .right = in.at("right").get<bool>()};
}

Answer AnswerFrom(const json& in) {
  Answer answer;
  in.at("turn").get_to(answer.turn);
  in.at("probe").get_to(answer.probe);
  in.at("pictures").get_to(answer.pictures);
  in.at("apart").get_to(answer.apart);
  in.at("kind").get_to(answer.kind);
  in.at("question").get_to(answer.question);
  in.at("answer").get_to(answer.text);
  in.at("token_ids").get_to(answer.token_ids);
  if (in.contains("expected")) answer.expected = in["expected"].get<std::string>();
  if (in.contains("right")) answer.right = in["right"].get<bool>();
  return answer;
}

Cell CellFrom(const json& in) {
  Cell cell;
  in.at("key").get_to(cell.key);
  in.at("record").get_to(cell.record);
  in.at("task").get_to(cell.task);
  in.at("setting").get_to(cell.setting);
  in.at("share").get_to(cell.share);
  in.at("seconds").get_to(cell.seconds);
  if (in.contains("scores")) cell.scores = ScoresFrom(in["scores"]);
  if (in.contains("probes")) {
    for (const json& probe : in["probes"]) cell.probes.push_back(ProbeFrom(probe));
  }
  if (in.contains("answers")) {
    for (const json& answer : in["answers"]) cell.answers.push_back(AnswerFrom(answer));
  }
  return cell;
}

}  // namespace

json ToJson(const Cell& cell) {
  json out = {{"key", cell.key},         {"record", cell.record}, {"task", cell.task},
              {"setting", cell.setting}, {"share", cell.share},   {"seconds", cell.seconds}};
  if (cell.scores.has_value()) out["scores"] = ToJson(*cell.scores);
  for (const Probe& probe : cell.probes) {
    out["probes"].push_back({{"after", probe.after}, {"turn", probe.turn}, {"right", probe.right}});
  }
  for (const Answer& answer : cell.answers) out["answers"].push_back(ToJson(answer));
  return out;
}

absl::StatusOr<Cell> CellFromJson(const json& in) {
  try {
    return CellFrom(in);
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(error.what());
  }
}

}  // namespace concertina::eval
