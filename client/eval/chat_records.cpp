#include "client/eval/chat_records.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/eval/fields.h"

namespace concertina::eval {
namespace {

using nlohmann::json;

absl::Status Within(const std::string& where, const absl::Status& status) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", std::string(status.message())));
}

absl::StatusOr<Question> ParseQuestion(const json& object, const std::string& name) {
  if (!object.is_object()) return absl::InvalidArgumentError("must be an object");
  Question question;
  auto text = TextOr(object, name, "");
  if (!text.ok()) return text.status();
  if (text->empty()) return MustBe(name, "a string that is not empty");
  question.text = *std::move(text);
  auto kind = TextOr(object, "kind", "");
  if (!kind.ok()) return kind.status();
  question.kind = *std::move(kind);
  auto answer = OptionalText(object, "answer");
  if (!answer.ok()) return answer.status();
  question.answer = *std::move(answer);
  auto choices = Texts(object, "choices");
  if (!choices.ok()) return choices.status();
  question.choices = *std::move(choices);
  const auto& all = question.choices;
  if (!all.empty() && (!question.answer.has_value() ||
                       std::find(all.begin(), all.end(), *question.answer) == all.end())) {
    return MustBe("answer", "one of choices");
  }
  return question;
}

absl::StatusOr<ChatTurn> ParseTurn(const json& object, const std::string& question_name) {
  ChatTurn turn;
  auto question = ParseQuestion(object, question_name);
  if (!question.ok()) return question.status();
  turn.question = *std::move(question);
  auto images = Texts(object, Member(object, "images").is_null() ? "image" : "images");
  if (!images.ok()) return images.status();
  turn.images = *std::move(images);
  auto reply = OptionalText(object, "reply");
  if (!reply.ok()) return reply.status();
  turn.reply = *std::move(reply);
  const json& probes = Member(object, "probes");
  if (!probes.is_null() && !probes.is_array()) return MustBe("probes", "a list");
  for (size_t i = 0; i < probes.size(); ++i) {
    auto probe = ParseQuestion(probes[i], "question");
    if (!probe.ok()) return Within(absl::StrCat("probe ", i), probe.status());
    turn.probes.push_back(*std::move(probe));
  }
  return turn;
}

// A reply can be given only while the history is made up: before the first turn that is asked.
absl::Status CheckOrder(const std::vector<ChatTurn>& turns) {
  bool asked = false, measured = false;
  for (size_t i = 0; i < turns.size(); ++i) {
    if (turns[i].reply.has_value() && asked) {
      return absl::InvalidArgumentError(
          absl::StrCat("turn ", i, ": has a reply, after a turn that the model answers itself"));
    }
    asked = !turns[i].reply.has_value();
    measured = measured || asked || !turns[i].probes.empty();
  }
  if (!measured) {
    return absl::InvalidArgumentError("every turn has its reply, and there is no probe");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Chat> ParseChat(const json& record) {
  Chat chat;
  auto system = TextOr(record, "system", "");
  if (!system.ok()) return system.status();
  chat.system_prompt = *std::move(system);
  const json& turns = Member(record, "turns");
  if (turns.is_null()) {
    auto turn = ParseTurn(record, Member(record, "prompt").is_null() ? "question" : "prompt");
    if (!turn.ok()) return turn.status();
    chat.turns.push_back(*std::move(turn));
  } else {
    if (!turns.is_array() || turns.empty()) return MustBe("turns", "a list that is not empty");
    for (size_t i = 0; i < turns.size(); ++i) {
      auto turn = ParseTurn(turns[i], "question");
      if (!turn.ok()) return Within(absl::StrCat("turn ", i), turn.status());
      chat.turns.push_back(*std::move(turn));
    }
    auto images = Texts(record, Member(record, "images").is_null() ? "image" : "images");
    if (!images.ok()) return images.status();
    auto& first = chat.turns.front().images;
    first.insert(first.begin(), images->begin(), images->end());
  }
  if (absl::Status status = CheckOrder(chat.turns); !status.ok()) return status;
  return chat;
}

}  // namespace concertina::eval
