#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/bundle/model.h"
#include "tests/engine/engine_fixture.h"
#include "tests/golden/conversation.h"

namespace concertina::testing {

// One answer of a session.
struct PlayedTurn {
  std::vector<int32_t> tokens;  // without the end token
  std::string text;
  bool stopped = false;         // by an end token
  int64_t tokens_at_start = 0;  // in the cache when the answer began
};

// The production engine with sessions that forget nothing: policy full, f32 entries.
class SessionPlayer {
 public:
  // `tokens_max`: of one conversation, prompt and answers.
  SessionPlayer(const std::shared_ptr<const Model>& model, int64_t tokens_max);

  // Opens a session with a history; returns its id.
  absl::StatusOr<std::string> Open(const SessionConversation& conversation);
  // One greedy turn of at most max_tokens.
  absl::StatusOr<PlayedTurn> Turn(const std::string& id, const std::vector<ContentPart>& parts,
                                  int32_t max_tokens, bool ignore_eos);
  void Close(const std::string& id) { engine_.Close(id); }

  // Opens, asks, closes: exactly max_tokens tokens.
  absl::StatusOr<PlayedTurn> Answer(const SessionConversation& conversation, int32_t max_tokens);
  // Log-probabilities and best tokens of a known continuation; `stepwise` feeds it token by token,
  // as generating would.
  absl::StatusOr<ScoreResult> Score(std::vector<int32_t> prompt, std::vector<int32_t> continuation,
                                    bool stepwise);

 private:
  TestEngine engine_;
};

}  // namespace concertina::testing
