// One conversation of two hundred turns, far past the trained context, within a few mebibytes.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

constexpr int kTurns = 200;
constexpr int kAsked = 10;  // facts of so many last turns are asked for
constexpr int64_t kCap = 4 << 20;
constexpr int64_t kTrainedContext = 8192;

constexpr std::array kNames = {"Alice",   "Ben",   "Carla",  "David",  "Emma",   "Frank",  "Grace",
                               "Henry",   "Irene", "Jack",   "Karen",  "Leo",    "Maria",  "Nathan",
                               "Olivia",  "Paul",  "Quinn",  "Rachel", "Samuel", "Tina",   "Uma",
                               "Victor",  "Wendy", "Xavier", "Yvonne", "Zoe",    "Adam",   "Bella",
                               "Charlie", "Diana", "Edward", "Fiona",  "George", "Hannah", "Ivan",
                               "Julia",   "Kevin", "Laura",  "Martin", "Nora"};

struct Kind {
  const char* thing;
  const char* is;
  std::array<const char*, 6> words;
};
constexpr std::array<Kind, 5> kKinds = {
    {{"food", "is", {"pizza", "rice", "pasta", "bread", "cheese", "soup"}},
     {"drink", "is", {"tea", "coffee", "milk", "juice", "water", "wine"}},
     {"animal", "is the", {"dog", "cat", "horse", "bear", "lion", "wolf"}},
     {"sport", "is", {"tennis", "golf", "football", "hockey", "chess", "rugby"}},
     {"color", "is", {"red", "blue", "green", "yellow", "orange", "purple"}}}};
constexpr std::array kSentences = {
    "The ferry leaves at a quarter past nine and comes back at noon, but not on Sundays.",
    "Red boats land with mackerel before six, and the market opens when the bell has rung.",
    "The road along the harbour was closed since the storm, when a crane fell into the water.",
    "Most captains pay on Fridays, and those who do not are asked again on Saturday.",
    "The lighthouse is painted every third year by two brothers who are afraid of heights.",
    "Children of the island learn to row before they learn to write, and nobody finds it odd.",
    "The old post office has a clock that is ten minutes late, and everyone has got used to it."};

// Everybody is told of five times, once for each kind.
const Kind& KindOf(int turn) { return kKinds[(turn + turn / 40) % 5]; }
const char* WordOf(int turn) { return KindOf(turn).words[(turn * 5 + turn / 7) % 6]; }

std::string Told(int turn) {
  const auto& [thing, is, words] = KindOf(turn);
  return absl::StrCat(kNames[turn % 40], "'s favorite ", thing, " ", is, " ", WordOf(turn), ".");
}

v1::Message Message(v1::Role role, const std::string& text) {
  v1::Message message;
  message.set_role(role);
  *message.add_parts() = client::Text(text);
  return message;
}

client::OpenOptions LongHistory() {
  client::OpenOptions open;
  open.policy.emplace().set_entry_type(v1::ENTRY_TYPE_PACKED);
  open.budget.emplace().set_bytes(kCap);
  for (int turn = 0; turn < kTurns; ++turn) {
    const std::string sentence = kSentences[turn % kSentences.size()];
    open.history.push_back(Message(v1::ROLE_USER, Told(turn) + " " + sentence));
    open.history.push_back(Message(v1::ROLE_ASSISTANT, "I see. " + Told(turn)));
  }
  return open;
}

// The most bytes of pages that the engine says are in use, from now on until the end.
class UsedBytesWatch {
 public:
  explicit UsedBytesWatch(const ServerProcess& server)
      : thread_([this, &server] {
          while (!ended_) {
            most_ = std::max(most_, server.Metric("kv_pool_used_bytes"));
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
          }
        }) {}
  ~UsedBytesWatch() { End(); }
  double End() {
    ended_ = true;
    if (thread_.joinable()) thread_.join();
    return most_;
  }

 private:
  std::atomic<bool> ended_{false};
  double most_ = 0;
  std::thread thread_;
};

TEST(LongConversationTest, StaysWithinItsBytesAndKnowsWhatWasSaidLast) {
  const auto server = ServerProcess::Start(BundledF32());
  ASSERT_TRUE(server.ok()) << server.status();
  const auto client = (*server)->Connect();
  UsedBytesWatch watch(**server);
  auto conversation = client->Open(LongHistory());
  const double most = watch.End();
  ASSERT_TRUE(conversation.ok()) << conversation.status();
  EXPECT_LE(most, kCap);
  EXPECT_GT(most, kCap * 3 / 4);
  const auto session = conversation->Info();
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_GT(session->cache().tokens_seen(), kTrainedContext);
  EXPECT_LT(session->cache().next_position(), kTrainedContext);  // rebased
  EXPECT_LT(session->cache().payload_bytes(), session->cache().full_bytes() / 40);

  int right = 0;
  std::string said;
  client::AskOptions ask;
  ask.max_tokens = 16;
  for (int turn = kTurns - kAsked; turn < kTurns; ++turn) {
    auto fork = conversation->Fork();
    ASSERT_TRUE(fork.ok()) << fork.status();
    const std::string question =
        absl::StrCat("What is the favorite ", KindOf(turn).thing, " of ", kNames[turn % 40], "?");
    const auto answer = fork->Ask({client::Text(question)}, ask);
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_LE(answer->folded->cache().used_bytes(), kCap);
    EXPECT_LE(answer->completed.cache().used_bytes(), kCap);
    right += answer->text.find(WordOf(turn)) != std::string::npos ? 1 : 0;
    absl::StrAppend(&said, "\n", Told(turn), " ", answer->text);
  }
  EXPECT_GE(right, 4) << said;
}

}  // namespace
}  // namespace concertina::testing
