#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/client.h"

namespace concertina::testing {

// One conversation with a secret that no other has, and how it is held.
struct CanaryConversation {
  std::string secret;
  client::OpenOptions open;
  std::vector<std::string> questions;  // one a turn
  std::vector<int32_t> max_tokens;     // of each
  bool ignore_eos = false;
};

// What was answered, turn by turn.
struct CanaryAnswers {
  std::vector<std::vector<int32_t>> tokens;
  std::vector<std::string> texts;
};

// One conversation after the other, each alone. Failures are recorded.
std::vector<CanaryAnswers> HoldAlone(client::Client& client,
                                     const std::vector<CanaryConversation>& conversations);

// All of them at once: `threads` threads take the next turn of conversations drawn at random, until
// all turns are done. Failures are recorded.
std::vector<CanaryAnswers> HoldTogether(client::Client& client,
                                        const std::vector<CanaryConversation>& conversations,
                                        int threads);

struct CanaryFigures {
  int turns = 0;
  int repeats = 0;  // answers with the conversation's own secret
};

// Expects answers without a foreign secret and equal to those of the solo runs.
CanaryFigures CheckAnswers(const std::vector<CanaryConversation>& conversations,
                           const std::vector<CanaryAnswers>& alone,
                           const std::vector<CanaryAnswers>& together);

}  // namespace concertina::testing
