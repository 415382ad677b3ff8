#include "client/eval/id_records.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/eval/fields.h"

namespace concertina::eval {
namespace {

using nlohmann::json;

constexpr char kSequence[] = "text or a list of token ids, not empty";

// Text, or token ids; empty if the member is absent.
absl::StatusOr<Sequence> ParseSequence(const json& record, const std::string& name) {
  const json& value = Member(record, name);
  Sequence sequence;
  if (value.is_null()) return sequence;
  if (value.is_string()) {
    sequence.text = value.get<std::string>();
  } else {
    auto ids = TokenIds(record, name);
    if (!ids.ok()) return MustBe(name, kSequence);
    sequence.ids = *std::move(ids);
  }
  return sequence;
}

absl::StatusOr<ProbedTurn> ParseProbedTurn(const json& object) {
  if (!object.is_object()) return absl::InvalidArgumentError("must be an object");
  ProbedTurn turn;
  auto ids = TokenIds(object, "ids");
  if (!ids.ok()) return ids.status();
  if (ids->empty()) return MustBe("ids", "a list of token ids, not empty");
  turn.ids = *std::move(ids);
  auto probe = TokenIds(object, "probe");
  if (!probe.ok()) return probe.status();
  turn.probe = *std::move(probe);
  if (turn.probe.empty()) return turn;
  const auto gold = TokenId(object, "gold");
  if (!gold.ok()) return gold.status();
  turn.gold = *gold;
  auto choices = TokenIds(object, "cand");
  if (!choices.ok()) return choices.status();
  turn.choices = *std::move(choices);
  if (std::find(turn.choices.begin(), turn.choices.end(), turn.gold) == turn.choices.end()) {
    return MustBe("gold", "one of cand");
  }
  return turn;
}

}  // namespace

absl::StatusOr<std::optional<ScoredPrompt>> ParseScoredPrompt(const json& record) {
  ScoredPrompt out;
  auto prompt = ParseSequence(record, "prompt");
  if (!prompt.ok()) return prompt.status();
  if (prompt->text.empty() && prompt->ids.empty()) return MustBe("prompt", kSequence);
  out.prompt = *std::move(prompt);
  const bool spelled = !Member(record, "continuation").is_null();
  auto continuation = ParseSequence(record, spelled ? "continuation" : "ans");
  if (!continuation.ok()) return continuation.status();
  out.continuation = *std::move(continuation);
  const auto special = FlagOr(record, "special", false);
  if (!special.ok()) return special.status();
  out.special = *special;
  const auto full_nll = OptionalNumber(record, "full_nll");
  if (!full_nll.ok()) return full_nll.status();
  out.full_nll = *full_nll;
  if (out.continuation.text.empty() && out.continuation.ids.size() < 2) {
    return std::optional<ScoredPrompt>();
  }
  return std::optional<ScoredPrompt>(std::move(out));
}

absl::StatusOr<ProbedConversation> ParseProbedConversation(const json& turns) {
  ProbedConversation conversation;
  bool probed = false;
  for (size_t i = 0; i < turns.size(); ++i) {
    auto turn = ParseProbedTurn(turns[i]);
    if (!turn.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("turn ", i, ": ", std::string(turn.status().message())));
    }
    probed = probed || !turn->probe.empty();
    conversation.turns.push_back(*std::move(turn));
  }
  if (!probed) return absl::InvalidArgumentError("no turn has a probe");
  return conversation;
}

}  // namespace concertina::eval
