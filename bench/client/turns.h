#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/rates.h"
#include "client/client.h"

namespace concertina::bench {

// One session's turn, as its client saw it.
struct ClientTurn {
  absl::Status status;
  Arrivals tokens;
  int64_t used_bytes = 0;  // of the idle session afterwards
};

// One turn of exactly `generate` tokens in every session at once. The first error of any.
absl::StatusOr<std::vector<ClientTurn>> RunTurns(std::vector<client::Conversation>& conversations,
                                                 const std::vector<std::string>& prompts,
                                                 int generate);

// The arrivals of each.
std::vector<Arrivals> ArrivalsOf(const std::vector<ClientTurn>& turns);

// `count` prompts of `tokens` tokens from different places of a text file, so that no two are
// equal.
absl::StatusOr<std::vector<std::string>> MakePrompts(client::Client& client,
                                                     const std::string& text_path, int count,
                                                     int tokens);

// Sessions with this policy and ratio.
absl::StatusOr<std::vector<client::Conversation>> OpenMany(client::Client& client, int count,
                                                           const std::string& policy, double ratio);

}  // namespace concertina::bench
