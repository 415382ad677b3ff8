#include "tests/campaigns/offered_load.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <thread>

#include "client/errors.h"
#include "tests/campaigns/campaign.h"
#include "tests/campaigns/conversation_script.h"
#include "tests/integration/child_process.h"

namespace concertina::testing {
namespace {

using std::chrono::steady_clock;

// More than a server with a short queue has in hand at any time.
constexpr int kWorkers = 48;
constexpr int kConnections = 8;
constexpr int32_t kTokens = 16;
constexpr uint32_t kStream = 400;

// Arrival times, one after the other; nothing after the end.
class Arrivals {
 public:
  Arrivals(double per_second, steady_clock::time_point end)
      : random_(RandomStream(kStream)),
        gap_seconds_(per_second),
        next_(steady_clock::now()),
        end_(end) {}

  std::optional<steady_clock::time_point> Next() {
    const std::lock_guard lock(mutex_);
    next_ += std::chrono::duration_cast<steady_clock::duration>(
        std::chrono::duration<double>(gap_seconds_(random_)));
    if (next_ >= end_) return std::nullopt;
    return next_;
  }

 private:
  std::mutex mutex_;
  std::mt19937 random_;
  std::exponential_distribution<double> gap_seconds_;
  steady_clock::time_point next_;
  const steady_clock::time_point end_;
};

}  // namespace

OfferedLoad::OfferedLoad(const std::string& target, const std::string& picture_path)
    : picture_(ReadWholeFile(picture_path)) {
  for (int i = 0; i < kConnections; ++i) {
    clients_.push_back(client::Client::Connect(target));
  }
}

void OfferedLoad::Turn(client::Client& client, std::mt19937& random, LoadFigures* figures) {
  ++figures->offered;
  const auto fail = [&](const absl::Status& status) {
    if (status.code() == absl::StatusCode::kResourceExhausted) {
      const client::ErrorDetails details = client::DetailsOf(status);
      EXPECT_TRUE(details.retry_after.has_value()) << status;
      ++figures->refused[details.reason];
    } else if (figures->failed.empty()) {
      figures->failed = client::Describe(status);
    }
  };
  auto conversation = client.Open();
  if (!conversation.ok()) return fail(conversation.status());
  std::string text = "Tell me about the sea.";
  for (int more = Draw(random, 0, 12); more > 0; --more) text += " And of the old town by the sea.";
  std::vector<v1::InputPart> parts;
  if (Draw(random, 0, 3) == 0) parts.push_back(client::ImageFile(picture_));
  parts.push_back(client::Text(text));
  Talk talk;
  TokenTimes times(&talk);
  client::AskOptions options;
  options.max_tokens = kTokens;
  options.ignore_eos = true;
  options.on_event = [&](const v1::GenerateResponse& event) { times.OnEvent(event); };
  const auto answer = conversation->Ask(parts, options);
  if (!answer.ok()) return fail(answer.status());
  ++figures->completed;
  figures->first_ms.insert(figures->first_ms.end(), talk.first_ms.begin(), talk.first_ms.end());
  figures->between_ms.insert(figures->between_ms.end(), talk.between_ms.begin(),
                             talk.between_ms.end());
}

void OfferedLoad::Merge(const LoadFigures& part, LoadFigures* sum) {
  const std::lock_guard lock(mutex_);
  sum->offered += part.offered;
  sum->completed += part.completed;
  for (const auto& [reason, count] : part.refused) sum->refused[reason] += count;
  if (sum->failed.empty()) sum->failed = part.failed;
  sum->first_ms.insert(sum->first_ms.end(), part.first_ms.begin(), part.first_ms.end());
  sum->between_ms.insert(sum->between_ms.end(), part.between_ms.begin(), part.between_ms.end());
  sum->lag_ms = std::max(sum->lag_ms, part.lag_ms);
}

LoadFigures OfferedLoad::ClosedLoop(int clients, std::chrono::seconds time) {
  const auto start = steady_clock::now();
  LoadFigures sum;
  std::vector<std::thread> threads;
  for (int i = 0; i < clients; ++i) {
    threads.emplace_back([&, i] {
      std::mt19937 random = RandomStream(kStream + 1 + static_cast<uint32_t>(i));
      LoadFigures part;
      while (steady_clock::now() < start + time) {
        Turn(*clients_[static_cast<size_t>(i % kConnections)], random, &part);
      }
      Merge(part, &sum);
    });
  }
  for (std::thread& thread : threads) thread.join();
  sum.seconds = MsSince(start) / 1000;
  return sum;
}

LoadFigures OfferedLoad::OpenLoop(double per_second, std::chrono::seconds time) {
  const auto start = steady_clock::now();
  Arrivals arrivals(per_second, start + time);
  LoadFigures sum;
  std::vector<std::thread> threads;
  for (int i = 0; i < kWorkers; ++i) {
    threads.emplace_back([&, i] {
      std::mt19937 random = RandomStream(kStream + 1000 + static_cast<uint32_t>(i));
      LoadFigures part;
      while (const auto arrival = arrivals.Next()) {
        std::this_thread::sleep_until(*arrival);
        part.lag_ms = std::max(part.lag_ms, MsSince(*arrival));
        Turn(*clients_[static_cast<size_t>(i % kConnections)], random, &part);
      }
      Merge(part, &sum);
    });
  }
  for (std::thread& thread : threads) thread.join();
  sum.seconds = MsSince(start) / 1000;
  return sum;
}

}  // namespace concertina::testing
