#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace concertina::eval {

// Text, or the token ids themselves; one of them is not empty.
struct Sequence {
  std::string text;
  std::vector<int32_t> ids;
};

// A prompt and what follows it, scored token by token. The continuation's first token is predicted
// by the prompt itself, whatever is folded after it: only the tokens behind it count.
struct ScoredPrompt {
  Sequence prompt;
  Sequence continuation;
  bool special = false;            // special tokens in texts are parsed
  std::optional<double> full_nll;  // what the data says of the full cache, nats per token
};

// Turns as token ids, replies included. After some of them the facts of all turns so far are asked
// for: `probe` is continued with one of `choices`, of which `gold` is right.
struct ProbedTurn {
  std::vector<int32_t> ids;
  std::vector<int32_t> probe;  // empty: this turn has no probe
  int32_t gold = 0;
  std::vector<int32_t> choices;
};
struct ProbedConversation {
  std::vector<ProbedTurn> turns;
};

struct Question {
  std::string text;
  std::string kind;                   // a group in the summary; may be empty
  std::optional<std::string> answer;  // the right one, if the data has it
  // If not empty, the answer is right when the first of these that it names is `answer`.
  std::vector<std::string> choices;
};

// What a user says: asked of the model, or, with `reply`, part of the history before that.
struct ChatTurn {
  std::vector<std::string> images;  // paths
  Question question;
  std::optional<std::string> reply;
  std::vector<Question> probes;  // asked after the turn, each in a fork of its own
};
struct Chat {
  std::string system_prompt;
  // Pictures are said in turns of their own, with an empty question, before what is asked about
  // them.
  bool images_apart = false;
  std::vector<ChatTurn> turns;
};

struct Record {
  std::string name;    // file and place in it: "prompts.json:3"
  std::string task;    // a group in the summary
  std::string digest;  // SHA-256 of everything that is measured, pictures included
  std::variant<ScoredPrompt, ProbedConversation, Chat> content;
};

}  // namespace concertina::eval
