#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/campaigns/tcp_gate.h"
#include "tests/campaigns/wire.h"
#include "tests/integration/server_process.h"

namespace concertina::testing {

// When a turn was given up. What the client had seen by then counts, not what it meant to do.
enum Moment : size_t {
  kQueued,       // nothing had come
  kPrefill,      // it was taken up
  kDecode,       // some tokens had come
  kLastToken,    // all but the last token, or all but the end, had come
  kAfterFinish,  // the turn was complete
  kDisconnect,   // the connection was cut, whatever had come
  kDeadline,     // the deadline passed, whatever had come
  kMoments,
};
inline constexpr std::array<const char*, kMoments> kMomentNames = {
    "queued", "prefill", "decode", "last token", "after finish", "disconnect", "deadline"};

struct CancelFigures {
  std::array<int, kMoments> cancelled{};
  std::vector<double> idle_ms;  // from the cancel to the session's state IDLE
  int twins = 0;                // sessions whose next turn was compared with a twin's

  CancelFigures& operator+=(const CancelFigures& other);
};

// A client that gives up nearly every turn it asks for. It keeps a session for some turns; what the
// server kept of them must be what the same turns, uncancelled and ended by max_tokens, leave
// behind: a twin session says the same next. Owned by one thread.
class CancellingClient {
 public:
  CancellingClient(const ServerProcess& server, std::mt19937 random);

  // One turn, given up at a random moment.
  void Round();
  // Compares the session with its twin and closes it.
  void Finish();

  const CancelFigures& figures() const { return figures_; }

 private:
  // A turn of which the server kept the first `tokens` tokens.
  struct KeptTurn {
    int text;
    int32_t tokens;
  };
  // How a turn is to be given up.
  struct Plan;

  void LearnPrompts();
  void Open();
  void Complete(int text);
  int64_t Seen() const;
  v1::GenerateRequest NextTurn(const std::string& text, int32_t max_tokens) const;
  Plan MakePlan();
  WireTurn GiveUp(const Plan& plan, const v1::GenerateRequest& request, Moment* moment);
  void Settle();
  bool IsLate(const grpc::Status& status);

  Wire wire_;
  TcpGate gate_;
  std::mt19937 random_;
  std::string id_;
  std::vector<KeptTurn> kept_;
  KeptTurn last_{};                     // given up last, with the tokens it asked for
  int64_t seen_ = 0;                    // tokens, with all of kept_
  std::vector<int64_t> prompt_tokens_;  // that each text adds in a later turn
  CancelFigures figures_;
};

}  // namespace concertina::testing
