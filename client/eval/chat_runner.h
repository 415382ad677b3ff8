#pragma once

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "client/conversation.h"
#include "client/eval/cell.h"
#include "client/eval/measurer.h"
#include "client/eval/record.h"
#include "client/eval/setting.h"

namespace concertina::eval {

// One chat with one setting, in sessions of its own. Used once, by one thread.
class ChatRunner {
 public:
  // The answers go to `cell`. All outlive it.
  ChatRunner(const Measurer& measurer, const Chat& chat, const Setting& setting, Cell& cell)
      : measurer_(measurer), chat_(chat), setting_(setting), cell_(cell) {}

  absl::Status Run();

 private:
  absl::StatusOr<std::vector<v1::InputPart>> Pictures(const ChatTurn& turn);
  // A session with the replies so far as its history, unless one is open already.
  absl::Status EnsureSession();
  // A turn whose reply is known goes to the history.
  absl::Status Replay(const ChatTurn& turn);
  absl::Status Ask(const ChatTurn& turn, size_t number);
  absl::Status AskProbes(const ChatTurn& turn, size_t number);
  // Asks, grades and keeps the answer.
  absl::Status Put(client::Conversation& conversation, const std::vector<v1::InputPart>& parts,
                   const Question& question, size_t number, bool probe);
  absl::StatusOr<client::Answer> Say(client::Conversation& conversation,
                                     const std::vector<v1::InputPart>& parts, int32_t max_tokens);

  const Measurer& measurer_;
  const Chat& chat_;
  const Setting& setting_;
  Cell& cell_;
  std::vector<v1::Message> history_;
  std::optional<client::Conversation> conversation_;
  bool pictures_ = false;  // said so far
  bool apart_ = false;     // in turns of their own
  double share_ = 0;       // sum over the answers
};

}  // namespace concertina::eval
