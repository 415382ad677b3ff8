#include "client/eval/chat_runner.h"

#include <utility>

#include "client/eval/grading.h"
#include "client/parts.h"

namespace concertina::eval {

absl::Status ChatRunner::Run() {
  for (size_t i = 0; i < chat_.turns.size(); ++i) {
    const ChatTurn& turn = chat_.turns[i];
    absl::Status status = turn.reply.has_value() ? Replay(turn) : Ask(turn, i + 1);
    if (status.ok() && !turn.probes.empty()) status = AskProbes(turn, i + 1);
    if (!status.ok()) return status;
  }
  cell_.share = share_ / static_cast<double>(cell_.answers.size());
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::InputPart>> ChatRunner::Pictures(const ChatTurn& turn) {
  std::vector<v1::InputPart> parts;
  for (const std::string& path : turn.images) {
    auto bytes = measurer_.options_.read(path);
    if (!bytes.ok()) return bytes.status();
    parts.push_back(client::ImageFile(*std::move(bytes)));
    pictures_ = true;
  }
  return parts;
}

absl::Status ChatRunner::EnsureSession() {
  if (conversation_.has_value()) return absl::OkStatus();
  client::OpenOptions options;
  options.policy = setting_.policy;
  options.budget = setting_.budget;
  options.system_prompt = chat_.system_prompt;
  options.history = history_;
  auto conversation = measurer_.client_.Open(options);
  if (!conversation.ok()) return conversation.status();
  conversation_.emplace(*std::move(conversation));
  return absl::OkStatus();
}

absl::Status ChatRunner::Replay(const ChatTurn& turn) {
  auto parts = Pictures(turn);
  if (!parts.ok()) return parts.status();
  parts->push_back(client::Text(turn.question.text));
  v1::Message user, assistant;
  user.set_role(v1::ROLE_USER);
  for (v1::InputPart& part : *parts) *user.add_parts() = std::move(part);
  assistant.set_role(v1::ROLE_ASSISTANT);
  *assistant.add_parts() = client::Text(*turn.reply);
  history_.push_back(std::move(user));
  history_.push_back(std::move(assistant));
  // A session that probes were asked in has not heard this turn.
  conversation_.reset();
  return absl::OkStatus();
}

absl::Status ChatRunner::Ask(const ChatTurn& turn, size_t number) {
  if (absl::Status status = EnsureSession(); !status.ok()) return status;
  auto parts = Pictures(turn);
  if (!parts.ok()) return parts.status();
  if (chat_.images_apart && !parts->empty()) {
    // The one token of this answer is chosen before anything is folded: the same for all settings.
    const auto seen = Say(*conversation_, *parts, 1);
    if (!seen.ok()) return seen.status();
    parts->clear();
    apart_ = true;
  }
  parts->push_back(client::Text(turn.question.text));
  return Put(*conversation_, *parts, turn.question, number, /*probe=*/false);
}

absl::Status ChatRunner::AskProbes(const ChatTurn& turn, size_t number) {
  if (absl::Status status = EnsureSession(); !status.ok()) return status;
  for (const Question& probe : turn.probes) {
    auto fork = conversation_->Fork();
    if (!fork.ok()) return fork.status();
    const absl::Status status =
        Put(*fork, {client::Text(probe.text)}, probe, number, /*probe=*/true);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ChatRunner::Put(client::Conversation& conversation,
                             const std::vector<v1::InputPart>& parts, const Question& question,
                             size_t number, bool probe) {
  auto said = Say(conversation, parts, measurer_.options_.max_tokens);
  if (!said.ok()) return said.status();
  Answer answer{.turn = static_cast<int>(number),
                .probe = probe,
                .pictures = pictures_,
                .apart = apart_,
                .kind = question.kind,
                .question = question.text,
                .expected = question.answer,
                .text = std::move(said->text),
                .token_ids = std::move(said->token_ids)};
  if (question.answer.has_value()) answer.right = IsRight(question, answer.text);
  const v1::CacheState& cache =
      said->folded.has_value() ? said->folded->cache() : said->completed.cache();
  share_ += measurer_.ShareOf(cache);
  cell_.answers.push_back(std::move(answer));
  return absl::OkStatus();
}

absl::StatusOr<client::Answer> ChatRunner::Say(client::Conversation& conversation,
                                               const std::vector<v1::InputPart>& parts,
                                               int32_t max_tokens) {
  client::AskOptions options;
  options.max_tokens = max_tokens;
  auto answer = conversation.Ask(parts, options,
                                 [this](std::string_view) { return !measurer_.stopped_.load(); });
  if (answer.ok() && answer->stopped) return absl::CancelledError("stopped");
  return answer;
}

}  // namespace concertina::eval
