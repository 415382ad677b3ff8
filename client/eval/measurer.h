#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "client/eval/cell.h"
#include "client/eval/record.h"
#include "client/eval/setting.h"

namespace concertina::eval {

struct MeasureOptions {
  int32_t max_tokens = 64;  // of a greedy answer
  int probe_every = 4;      // turns of token ids between probes; there are always some at the end
  std::function<absl::StatusOr<std::string>(const std::string& path)> read;  // pictures
};

// Measures records through the API: scored prompts and conversations of token ids with Score, which
// folds as a session does, chats with sessions and, for probes, forks of them. Thread-safe.
class Measurer {
 public:
  // `model`: of the server behind `client`. Both and `stopped` outlive it.
  Measurer(client::Client& client, const v1::GetModelResponse& model, MeasureOptions options,
           const std::atomic<bool>& stopped);

  // The hash of everything the result depends on: record, setting, options that matter to it, and
  // the served model with its weight type.
  std::string KeyOf(const Record& record, const Setting& setting) const;

  // One cell. CANCELLED once `stopped` is set, else the server's errors.
  absl::StatusOr<Cell> Measure(const Record& record, const Setting& setting) const;

 private:
  absl::Status Run(const ScoredPrompt& prompt, const Setting& setting, Cell& cell) const;
  absl::Status Run(const ProbedConversation& conversation, const Setting& setting,
                   Cell& cell) const;
  absl::Status Run(const Chat& chat, const Setting& setting, Cell& cell) const;
  absl::StatusOr<v1::ScoreResponse> Score(const v1::ScoreRequest& request) const;
  // Payload of a cache as a share of what a full one of 16-bit entries would have.
  double ShareOf(const v1::CacheState& cache) const;

  friend class ChatRunner;
  client::Client& client_;
  const MeasureOptions options_;
  const std::atomic<bool>& stopped_;
  const std::string model_identity_;
  const double token_bytes_;  // keys and values of a token in all layers, 16 bits each
};

}  // namespace concertina::eval
