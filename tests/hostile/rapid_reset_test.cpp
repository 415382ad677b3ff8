// Rapid reset (CVE-2023-44487): one connection opens streams and resets them as fast as it can.
// Handlers stay within the admission cap, memory stays, neighbours hardly notice, and the server
// serves at once afterwards.
#include <gtest/gtest.h>

#include <cstdio>

#include "client/admin.h"
#include "tests/hostile/campaign.h"
#include "tests/hostile/http2_client.h"
#include "tests/hostile/neighbour.h"

namespace concertina::testing {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int64_t kMaxCalls = 1024;  // RpcLimits::max_calls
constexpr int64_t kMemoryLimit = int64_t{64} << 20;
// A p99 of a few seconds is a handful of calls: on a shared machine it needs more room.
double LatencyRatio() { return FullCampaign() ? 2 : 4; }
// Below this a ratio of latencies is the machine's scheduling, not the server's work.
constexpr double kLatencyFloorMs = 5;

struct Attack {
  int sent = 0;
  bool cut = false;  // the server ended the connection
  int64_t most_calls = 0;
};

// Headers and reset, with a message in between every other time; all on one connection.
Attack Reset(const ServerProcess& server, int count, milliseconds limit) {
  RawConnection connection(server.target());
  Attack attack;
  connection.Send(Preface() + Settings());
  const auto admin = server.ConnectAdmin();
  const auto end = Clock::now() + limit;
  const std::string headers = CallHeaders("GetModel");
  uint32_t stream = 1;
  while (attack.sent < count && Clock::now() < end && !attack.cut) {
    std::string frames;
    for (int i = 0; i < 100; ++i, stream += 2) {
      frames += Frame(kHeadersFrame, kEndHeaders, stream, headers);
      if (i % 2 == 0) frames += Frame(kDataFrame, kEndStream, stream, GrpcMessage(""));
      frames += Frame(kRstStreamFrame, 0, stream, Big32(8));
    }
    const bool sent = connection.Send(frames, std::chrono::duration_cast<milliseconds>(
                                                  std::max(end - Clock::now(), Clock::duration())));
    if (sent) attack.sent += 100;
    attack.cut = !sent && Clock::now() < end;
    if (const auto load = admin->GetLoad(); load.ok()) {
      attack.most_calls = std::max<int64_t>(attack.most_calls, load->calls_in_flight());
    }
  }
  // The server may still be at it: the neighbours are watched until it is through.
  while (Clock::now() < end && !connection.ended()) {
    connection.Next(milliseconds(50));
    if (const auto load = admin->GetLoad(); load.ok()) {
      attack.most_calls = std::max<int64_t>(attack.most_calls, load->calls_in_flight());
    }
  }
  attack.cut = attack.cut || connection.ended();
  return attack;
}

void Append(Neighbour::Window from, Neighbour::Window& to) {
  to.call_ms.insert(to.call_ms.end(), from.call_ms.begin(), from.call_ms.end());
  to.token_ms.insert(to.token_ms.end(), from.token_ms.begin(), from.token_ms.end());
  to.seconds += from.seconds;
}

// Of the p99s, with attacks and without.
double Slowdown(const std::vector<double>& quiet, const std::vector<double>& attacked) {
  return Quantile(attacked, 0.99) / std::max(Quantile(quiet, 0.99), kLatencyFloorMs);
}

void ExpectUnharmed(const char* what, const std::vector<double>& quiet,
                    const std::vector<double>& attacked) {
  std::printf("%s: p50 %.2f -> %.2f ms, p99 %.2f -> %.2f ms (%zu, %zu)\n", what,
              Quantile(quiet, 0.5), Quantile(attacked, 0.5), Quantile(quiet, 0.99),
              Quantile(attacked, 0.99), quiet.size(), attacked.size());
  EXPECT_GT(attacked.size(), 50u);
  EXPECT_LE(Slowdown(quiet, attacked), LatencyRatio()) << what;
}

struct Rounds {
  Neighbour::Window quiet, attacked;
  Attack all;

  double slowdown() const {
    return std::max(Slowdown(quiet.call_ms, attacked.call_ms),
                    Slowdown(quiet.token_ms, attacked.token_ms));
  }
};

Rounds AttackInRounds(const ServerProcess& server, Neighbour& neighbour) {
  const bool full = FullCampaign();
  const int count = full ? 100'000 : 10'000;
  const milliseconds window(full ? 8000 : 3000);
  Rounds rounds;
  neighbour.Take();
  for (int round = 0; round < (full ? 4 : 2); ++round) {
    std::this_thread::sleep_for(window);
    Append(neighbour.Take(), rounds.quiet);
    const Attack attack = Reset(server, count, window);
    Append(neighbour.Take(), rounds.attacked);
    rounds.all.sent += attack.sent;
    rounds.all.cut = rounds.all.cut || attack.cut;
    rounds.all.most_calls = std::max(rounds.all.most_calls, attack.most_calls);
    EXPECT_LE(TimeToServe(server), milliseconds(2000));
  }
  EXPECT_GT(rounds.all.sent, 0);
  EXPECT_LE(rounds.all.most_calls, kMaxCalls);
  return rounds;
}

TEST(RapidReset, HurtsNobody) {
  auto started = ServerProcess::Start(TinyLlava());
  ASSERT_TRUE(started.ok()) << started.status();
  ServerProcess& server = **started;
  const pid_t pid = server.process().pid();
  Neighbour neighbour(server);
  std::this_thread::sleep_for(milliseconds(500));
  const int64_t before = ProcessMemory(pid, "VmRSS");
  Rounds rounds = AttackInRounds(server, neighbour);
  // Other work of the machine may have come between the quiet times and the others.
  for (int more = FullCampaign() ? 0 : 2; more > 0 && rounds.slowdown() > LatencyRatio(); --more) {
    rounds = AttackInRounds(server, neighbour);
  }
  const int64_t peak = ProcessMemory(pid, "VmHWM");
  const Attack& all = rounds.all;
  std::printf("%d resets sent%s, at most %lld calls in flight, resident %.1f -> peak %.1f MiB\n",
              all.sent, all.cut ? ", then the connection was cut" : "",
              static_cast<long long>(all.most_calls), static_cast<double>(before) / (1 << 20),
              static_cast<double>(peak) / (1 << 20));
  ExpectUnharmed("small calls", rounds.quiet.call_ms, rounds.attacked.call_ms);
  ExpectUnharmed("tokens", rounds.quiet.token_ms, rounds.attacked.token_ms);
  EXPECT_LE(peak - before, kMemoryLimit);
  EXPECT_EQ(neighbour.failures(), 0);
  EXPECT_TRUE(server.process().IsRunning());
}

}  // namespace
}  // namespace concertina::testing
