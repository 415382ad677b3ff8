#include "tests/campaigns/cancelling_client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/campaigns/campaign.h"

namespace concertina::testing {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// The tiny model's context has 512 positions, and a turn takes up to 200.
constexpr int64_t kMaxSeen = 300;
constexpr int32_t kFirstTokens = 3;
constexpr int32_t kProbeTokens = 6;
constexpr int32_t kMaxTokens = 40;
constexpr milliseconds kLatePause{2};

// The last one is long enough to be given up in prefill.
std::string TextOf(int index) {
  static const std::array<std::string, 4> kTexts = {
      "Hello there.", "What is the price of it in 2024?", "Go on, please.",
      "Tell me of the sea, the hills, the old town, the bridge, the market, the bread, the fish."};
  return kTexts[static_cast<size_t>(index)];
}
constexpr int kTexts = 4;
constexpr char kProbe[] = "And what else?";

// Runs `action` after `delay` unless the object goes first.
class Delayed {
 public:
  Delayed(microseconds delay, std::function<void()> action)
      : thread_([this, delay, action = std::move(action)] {
          const auto end = steady_clock::now() + delay;
          while (!over_ && steady_clock::now() < end) {
            std::this_thread::sleep_for(microseconds(50));
          }
          if (!over_) action();
        }) {}
  ~Delayed() {
    over_ = true;
    thread_.join();
  }
  Delayed(const Delayed&) = delete;
  Delayed& operator=(const Delayed&) = delete;

 private:
  std::atomic<bool> over_{false};
  std::thread thread_;
};

// What had come counts, except where the aim is a way and not a moment.
Moment MomentOf(const WireTurn& turn, Moment aim) {
  if (aim == kDisconnect || aim == kDeadline || aim == kLastToken) return aim;
  if (turn.completed) return kAfterFinish;
  if (!turn.tokens.empty()) return kDecode;
  return turn.started ? kPrefill : kQueued;
}

bool IsExpected(const WireTurn& turn) {
  switch (turn.status.error_code()) {
    case grpc::StatusCode::OK:
      return turn.completed;
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::UNAVAILABLE:
      return true;
    default:
      return false;
  }
}

}  // namespace

struct CancellingClient::Plan {
  Moment aim;
  int text;
  int32_t max_tokens;
  size_t tokens;       // kDecode: after this many
  microseconds delay;  // kQueued, kDisconnect, kDeadline
  bool with_reset;     // kDisconnect
};

CancelFigures& CancelFigures::operator+=(const CancelFigures& other) {
  for (size_t i = 0; i < kMoments; ++i) cancelled[i] += other.cancelled[i];
  idle_ms.insert(idle_ms.end(), other.idle_ms.begin(), other.idle_ms.end());
  twins += other.twins;
  return *this;
}

CancellingClient::CancellingClient(const ServerProcess& server, std::mt19937 random)
    : wire_(server.target()), gate_(server.target()), random_(random) {
  LearnPrompts();
}

int64_t CancellingClient::Seen() const { return GetSession(wire_, id_).cache().tokens_seen(); }

// A turn that is not given up.
void CancellingClient::Complete(int text) {
  const WireTurn whole = Generate(wire_.stub(), TurnOf(id_, TextOf(text), kFirstTokens));
  EXPECT_TRUE(whole.status.ok()) << whole.status.error_message();
  kept_.push_back({text, kFirstTokens});
}

void CancellingClient::Open() {
  id_ = OpenSession(wire_);
  Complete(0);
  seen_ = Seen();
}

void CancellingClient::LearnPrompts() {
  Open();
  for (int text = 0; text < kTexts; ++text) {
    Complete(text);
    const int64_t seen = Seen();
    prompt_tokens_.push_back(seen - seen_ - kFirstTokens);
    seen_ = seen;
  }
  Finish();
}

CancellingClient::Plan CancellingClient::MakePlan() {
  Plan plan;
  plan.aim = static_cast<Moment>(Draw(random_, 0, kMoments - 1));
  plan.text = plan.aim == kPrefill ? kTexts - 1 : Draw(random_, 0, kTexts - 1);
  plan.max_tokens = Draw(random_, 2, kMaxTokens);
  plan.tokens = static_cast<size_t>(Draw(random_, 1, plan.max_tokens - 1));
  plan.delay = microseconds(Draw(random_, 0, plan.aim == kQueued ? 2'000 : 20'000));
  plan.with_reset = Draw(random_, 0, 1) == 0;
  return plan;
}

WireTurn CancellingClient::GiveUp(const Plan& plan, const v1::GenerateRequest& request,
                                  Moment* moment) {
  grpc::ClientContext context;
  // A connection of its own, which the server has taken up when it is cut.
  const Wire gated(gate_.address());
  const bool cut = plan.aim == kDisconnect;
  if (plan.aim == kDeadline) context.set_deadline(std::chrono::system_clock::now() + plan.delay);
  std::unique_ptr<Delayed> delayed;
  if (plan.aim == kQueued) {
    delayed = std::make_unique<Delayed>(plan.delay, [&] { context.TryCancel(); });
  }
  const auto on_event = [&](const v1::GenerateResponse& event, const WireTurn& turn) {
    const auto tokens = static_cast<int32_t>(turn.tokens.size());
    if (cut && event.has_started()) {
      delayed = std::make_unique<Delayed>(plan.delay, [&] { gate_.Cut(plan.with_reset); });
    }
    if ((plan.aim == kPrefill && event.has_started()) ||
        (plan.aim == kDecode && turn.tokens.size() >= plan.tokens) ||
        (plan.aim == kLastToken && tokens >= plan.max_tokens - 1) ||
        (plan.aim == kAfterFinish && event.has_completed())) {
      context.TryCancel();
    }
  };
  const WireTurn turn = Generate(cut ? gated.stub() : wire_.stub(), request, context, on_event);
  delayed.reset();
  *moment = MomentOf(turn, plan.aim);
  return turn;
}

// What the server kept of the last turn, once the session is idle.
void CancellingClient::Settle() {
  const v1::Session session = IdleSession(wire_, id_);
  const auto turns = static_cast<int32_t>(kept_.size());
  if (session.turns() == turns) {
    EXPECT_EQ(session.cache().tokens_seen(), seen_) << "a turn of which nothing was kept";
    return;
  }
  EXPECT_EQ(session.turns(), turns + 1);
  const int64_t added = session.cache().tokens_seen() - seen_;
  const auto tokens = static_cast<int32_t>(added - prompt_tokens_[static_cast<size_t>(last_.text)]);
  EXPECT_GE(tokens, 1);
  EXPECT_LE(tokens, last_.tokens);
  kept_.push_back({last_.text, tokens});
  seen_ += added;
}

// The server may take up a turn only after its client has gone, and keep a token of it: then it has
// one turn more than we know of, or is at it.
bool CancellingClient::IsLate(const grpc::Status& status) {
  if (status.error_code() != grpc::StatusCode::ABORTED) return false;
  std::this_thread::sleep_for(kLatePause);
  Settle();
  return true;
}

v1::GenerateRequest CancellingClient::NextTurn(const std::string& text, int32_t max_tokens) const {
  auto request = TurnOf(id_, text, max_tokens);
  request.set_expected_turn(static_cast<int32_t>(kept_.size()));
  return request;
}

void CancellingClient::Round() {
  if (id_.empty()) Open();
  const Plan plan = MakePlan();
  Moment moment = kMoments;
  const WireTurn turn = GiveUp(plan, NextTurn(TextOf(plan.text), plan.max_tokens), &moment);
  if (IsLate(turn.status)) return;
  EXPECT_TRUE(IsExpected(turn)) << turn.status.error_code() << " " << turn.status.error_message();
  last_ = {plan.text, plan.max_tokens};
  const auto given_up = steady_clock::now();
  Settle();
  ++figures_.cancelled[moment];
  figures_.idle_ms.push_back(MsSince(given_up));
  if (seen_ > kMaxSeen) Finish();
}

void CancellingClient::Finish() {
  if (id_.empty()) return;
  WireTurn next = Generate(wire_.stub(), NextTurn(kProbe, kProbeTokens));
  if (IsLate(next.status)) next = Generate(wire_.stub(), NextTurn(kProbe, kProbeTokens));
  EXPECT_TRUE(next.status.ok()) << next.status.error_message();
  const std::string twin = OpenSession(wire_);
  for (const KeptTurn& kept : kept_) {
    const auto whole = Generate(wire_.stub(), TurnOf(twin, TextOf(kept.text), kept.tokens));
    EXPECT_TRUE(whole.status.ok()) << whole.status.error_message();
  }
  const WireTurn expected = Generate(wire_.stub(), TurnOf(twin, kProbe, kProbeTokens));
  EXPECT_EQ(next.tokens, expected.tokens) << kept_.size() << " turns kept";
  EXPECT_EQ(Seen(), GetSession(wire_, twin).cache().tokens_seen());
  ++figures_.twins;
  CloseSession(wire_, twin);
  CloseSession(wire_, id_);
  id_.clear();
  kept_.clear();
}

}  // namespace concertina::testing
