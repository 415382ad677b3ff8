// Fifty streams whose clients never read, with windows of nothing, the usual size and the largest,
// PINGs answered: they are ended in time, hold little, and cost neighbours no more than as many
// readers that read.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "client/admin.h"
#include "tests/campaigns/long_llava.h"
#include "tests/hostile/campaign.h"
#include "tests/hostile/http2_client.h"
#include "tests/hostile/neighbour.h"

namespace concertina::testing {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kStallTimeout{2000};
constexpr milliseconds kWatched{2500};
constexpr int64_t kQueueLimit = int64_t{64} << 10;  // per stream
// What their caches and transcripts may take meanwhile.
constexpr int64_t kEngineBytes = int64_t{16} << 20;
constexpr uint32_t kLargest = 0x7fffffff;
// Judged at full size only, which runs alone on its machine; two runs differ by this much even so.
constexpr double kThroughputKept = 0.9;

// A stream of one session's turn on a connection of its own.
struct Reader {
  client::Conversation conversation;
  std::unique_ptr<RawConnection> connection;
};

class SlowReaders : public ::testing::TestWithParam<uint32_t> {
 protected:
  void SetUp() override {
    std::vector<std::string> arguments = LongLlava("1GiB");
    arguments.insert(arguments.end(), {"--stall-timeout", "2s"});
    auto started = ServerProcess::Start(arguments);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    client_ = server_->Connect();
    admin_ = server_->ConnectAdmin();
  }

  // The larger the window, the more tokens it takes to fill it: fewer get there within seconds.
  int Readers() const {
    if (FullCampaign() || GetParam() == 0) return 50;
    return GetParam() == kLargest ? 4 : 8;
  }

  // Turns of very many tokens, with `window` bytes let through, or all of them.
  void Open(uint32_t window, std::vector<Reader>& readers) {
    while (static_cast<int>(readers.size()) < Readers()) {
      auto conversation = client_->Open();
      ASSERT_TRUE(conversation.ok()) << conversation.status();
      v1::GenerateRequest request;
      request.set_session_id(conversation->id());
      request.add_parts()->set_text("hello");
      request.set_max_tokens(kLongTurnTokens);
      request.set_ignore_eos(true);
      request.set_logprobs(true);
      // A client that takes nothing at all has little room in its kernel either.
      auto connection = std::make_unique<RawConnection>(server_->target(), 4096);
      ASSERT_TRUE(connection->ok());
      std::string hello = Preface() + Settings(4, window);
      if (window == kLargest) hello += Frame(kWindowUpdateFrame, 0, 0, Big32(kLargest - 65'535));
      ASSERT_TRUE(connection->Send(hello + WholeCall(1, "Generate", request.SerializeAsString())));
      readers.push_back({*std::move(conversation), std::move(connection)});
    }
  }

  // Reads the connections: answers PINGs, opens no window.
  static void Drain(std::vector<Reader>& readers) {
    for (Reader& reader : readers) {
      while (reader.connection->Next(milliseconds(0)).has_value()) {
      }
    }
  }

  // Turns of others than the neighbour, which has one.
  int64_t Running() {
    const auto load = admin_->GetLoad();
    return load.ok() ? std::max<int64_t>(0, load->requests_running() - 1) : kMissing;
  }

  // The neighbour's tokens per second beside readers that read everything.
  double BesideGoodReaders(Neighbour& neighbour) {
    std::vector<Reader> readers;
    Open(kLargest, readers);
    neighbour.Take();
    const auto end = Clock::now() + kWatched;
    while (Clock::now() < end) {
      Drain(readers);
      std::this_thread::sleep_for(milliseconds(5));
    }
    return neighbour.Take().tokens_per_second();
  }

  // Streams and connections ended as stalled: once that is all of them, or after 20 seconds.
  double Stalled() const {
    double count = 0;
    for (int i = 0; i < 1000 && count < Readers(); ++i) {
      if (i > 0) std::this_thread::sleep_for(milliseconds(20));
      count = server_->Metric("requests_rejected_total", "CLIENT_STALLED");
    }
    return count;
  }

  static constexpr int64_t kMissing = 1 << 20;
  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<client::Client> client_;
  std::unique_ptr<client::Admin> admin_;
};

TEST_P(SlowReaders, AreEndedAndHoldLittle) {
  const uint32_t window = GetParam();
  const pid_t pid = server_->process().pid();
  Neighbour neighbour(*server_);
  const double beside_good = BesideGoodReaders(neighbour);
  while (Running() > 0) std::this_thread::sleep_for(milliseconds(10));
  const int64_t before = ProcessMemory(pid, "VmRSS");
  std::vector<Reader> readers;
  Open(window, readers);
  ASSERT_EQ(static_cast<int>(readers.size()), Readers());
  neighbour.Take();
  const auto start = Clock::now();
  int64_t most = 0;
  int64_t most_running = 0;
  double beside_slow = 0;
  // The engine takes them up one after the other, which on a busy machine takes its time.
  int64_t running = kMissing;
  auto taken_up = start;
  while (running > 0 && Clock::now() - start < std::chrono::seconds(90)) {
    if (window != kLargest) Drain(readers);
    most = std::max(most, ProcessMemory(pid, "VmRSS"));
    running = Running();
    if (running != kMissing && running > most_running) {
      most_running = running;
      taken_up = Clock::now();
    }
    if (most_running == 0 && Clock::now() - start < std::chrono::seconds(5)) running = kMissing;
    if (beside_slow == 0 && Clock::now() - start >= kWatched) {
      beside_slow = neighbour.Take().tokens_per_second();
    }
    std::this_thread::sleep_for(milliseconds(20));
  }
  const auto time = std::chrono::duration_cast<milliseconds>(Clock::now() - taken_up);
  if (beside_slow == 0) beside_slow = neighbour.Take().tokens_per_second();
  std::printf(
      "window %u: %d readers ended after %lld ms (stall timeout %lld), resident %+.1f MiB; "
      "neighbour %.0f tokens/s beside readers that read, %.0f beside these\n",
      window, Readers(), static_cast<long long>(time.count()),
      static_cast<long long>(kStallTimeout.count()), static_cast<double>(most - before) / (1 << 20),
      beside_good, beside_slow);
  EXPECT_EQ(running, 0);
  // All of them were taken up, and ended for this reason; a call is counted when its status goes
  // out.
  EXPECT_GE(Stalled(), Readers());
  if (FullCampaign()) {
    EXPECT_GE(beside_slow, kThroughputKept * beside_good);
  }
  EXPECT_EQ(neighbour.failures(), 0);
  if (window == 0) {
    EXPECT_LE(time, kStallTimeout + milliseconds(5000));
    EXPECT_LE(most - before, Readers() * kQueueLimit + kEngineBytes);
  }
  EXPECT_LE(TimeToServe(*server_), milliseconds(2000));
}

INSTANTIATE_TEST_SUITE_P(Windows, SlowReaders, ::testing::Values(0U, 65'535U, kLargest));

}  // namespace
}  // namespace concertina::testing
