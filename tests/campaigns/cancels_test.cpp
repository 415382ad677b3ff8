// Turns cancelled by the thousand, at every point of their life: nothing of them is left, and the
// sessions go on as if they had ended there.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/campaigns/campaign.h"
#include "tests/campaigns/cancelling_client.h"

namespace concertina::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr int kClients = 12;
// Less than clients: the others wait.
constexpr char kBatch[] = "4";
constexpr int kBystanders = 4;
constexpr seconds kQuietLimit{20};
constexpr int64_t kResidentGrowthBytes = 32 << 20;

// Sessions that hold a cache and do nothing: what the pool is left with in the end.
std::vector<std::string> OpenBystanders(const Wire& wire) {
  std::vector<std::string> ids;
  for (int i = 0; i < kBystanders; ++i) {
    ids.push_back(OpenSession(wire));
    const WireTurn turn = Generate(wire.stub(), TurnOf(ids.back(), "Remember this.", 8 + i));
    EXPECT_TRUE(turn.status.ok()) << turn.status.error_message();
  }
  return ids;
}

bool IsQuiet(const ServerProcess& server, client::Admin& admin) {
  const auto load = admin.GetLoad();
  EXPECT_TRUE(load.ok()) << load.status();
  return load.ok() && load->calls_in_flight() == 0 && load->requests_running() == 0 &&
         load->requests_waiting() == 0 && load->sessions_busy() == 0 &&
         server.Metric("requests_running") == 0 && server.Metric("requests_waiting") == 0 &&
         server.Metric("sessions_busy") == 0;
}

// Rounds of all clients together, shared out as they come.
CancelFigures CancelMany(const ServerProcess& server, int rounds, uint32_t stream) {
  std::atomic<int> left{rounds};
  std::mutex mutex;
  CancelFigures sum;
  std::vector<std::thread> threads;
  for (int i = 0; i < kClients; ++i) {
    threads.emplace_back([&, i] {
      CancellingClient client(server, RandomStream(stream + static_cast<uint32_t>(i)));
      while (left-- > 0 && !::testing::Test::HasFailure()) client.Round();
      client.Finish();
      const std::lock_guard lock(mutex);
      sum += client.figures();
    });
  }
  for (std::thread& thread : threads) thread.join();
  return sum;
}

TEST(Cancels, LeaveNothingBehind) {
  auto flags = TinyLlava();
  flags.insert(flags.end(), {"--max-batch", kBatch});
  auto started = ServerProcess::Start(flags);
  ASSERT_TRUE(started.ok()) << started.status();
  ServerProcess& server = **started;
  const Wire wire(server.target());
  const auto admin = server.ConnectAdmin();
  CancelMany(server, kClients * 4, 1000);  // threads, arenas and buffers are there afterwards
  const auto bystanders = OpenBystanders(wire);
  const double baseline = server.Metric("kv_pool_used_bytes");
  ASSERT_GT(baseline, 0);
  EXPECT_EQ(server.Gauge("kv_pool_reserved_bytes", baseline), baseline);
  const int64_t resident = ResidentBytes(server.process().pid());

  const auto start = steady_clock::now();
  const CancelFigures figures = CancelMany(server, Sized(2000, 10'000), 1);
  const double elapsed_ms = MsSince(start);
  const auto end = steady_clock::now();
  EXPECT_TRUE(Eventually(kQuietLimit, [&] { return IsQuiet(server, *admin); }));
  const double quiet_ms = MsSince(end);
  EXPECT_EQ(server.Gauge("kv_pool_used_bytes", baseline), baseline);
  EXPECT_EQ(server.Gauge("kv_pool_reserved_bytes", baseline), baseline);
  EXPECT_EQ(server.Gauge("sessions_active", kBystanders), kBystanders);
  const int64_t grown = ResidentBytes(server.process().pid()) - resident;
  EXPECT_LT(grown, kResidentGrowthBytes);
  for (size_t at = 0; at < kMoments; ++at) {
    EXPECT_GT(figures.cancelled[at], 0) << kMomentNames[at];
  }
  EXPECT_GT(figures.twins, 0);
  // Nothing goes on for those who left.
  const double generated = server.Metric("generated_tokens_total");
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_EQ(server.Metric("generated_tokens_total"), generated);
  std::string counts;
  for (size_t at = 0; at < kMoments; ++at) {
    absl::StrAppend(&counts, kMomentNames[at], " ", figures.cancelled[at], ", ");
  }
  PrintFigures(
      "cancels",
      absl::StrCat(counts, "in ", elapsed_ms / 1000, " s; session idle again after p50 ",
                   Percentile(figures.idle_ms, 0.5), " ms, p99 ", Percentile(figures.idle_ms, 0.99),
                   " ms; quiet ", quiet_ms, " ms after the last; ", figures.twins,
                   " sessions equal their twins; resident memory ", grown >> 10, " KiB"));
}

}  // namespace
}  // namespace concertina::testing
