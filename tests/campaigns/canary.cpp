#include "tests/campaigns/canary.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <mutex>
#include <optional>
#include <thread>

#include "client/errors.h"
#include "tests/campaigns/campaign.h"

namespace concertina::testing {
namespace {

constexpr uint32_t kStream = 64;

std::optional<client::Conversation> Open(client::Client& client, const CanaryConversation& canary) {
  auto conversation = client.Open(canary.open);
  EXPECT_TRUE(conversation.ok()) << conversation.status();
  if (!conversation.ok()) return std::nullopt;
  return *std::move(conversation);
}

// The next turn of a conversation; false if it failed.
bool Turn(client::Conversation& conversation, const CanaryConversation& canary,
          CanaryAnswers* answers) {
  const size_t turn = answers->texts.size();
  client::AskOptions options;
  options.max_tokens = canary.max_tokens[turn];
  options.ignore_eos = canary.ignore_eos;
  options.expected_turn = static_cast<int32_t>(turn);
  const auto answer = conversation.Ask({client::Text(canary.questions[turn])}, options);
  EXPECT_TRUE(answer.ok()) << client::Describe(answer.status()) << " in turn " << turn;
  if (!answer.ok()) return false;
  answers->tokens.push_back(answer->token_ids);
  answers->texts.push_back(answer->text);
  return true;
}

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// Hands out turns in random order: never two of one conversation at a time.
class Deck {
 public:
  explicit Deck(const std::vector<CanaryConversation>& conversations)
      : random_(RandomStream(kStream)) {
    for (size_t i = 0; i < conversations.size(); ++i) {
      free_.push_back(i);
      left_.push_back(conversations[i].questions.size());
    }
  }
  // Nothing: whoever has a turn in hand puts the conversation back, or it is over.
  std::optional<size_t> Draw() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return std::nullopt;
    std::swap(free_.back(), free_[random_() % free_.size()]);
    const size_t drawn = free_.back();
    free_.pop_back();
    return drawn;
  }
  void PutBack(size_t conversation) {
    const std::lock_guard lock(mutex_);
    if (--left_[conversation] > 0) free_.push_back(conversation);
  }

 private:
  std::mutex mutex_;
  std::mt19937 random_;
  std::vector<size_t> free_, left_;
};

}  // namespace

std::vector<CanaryAnswers> HoldAlone(client::Client& client,
                                     const std::vector<CanaryConversation>& conversations) {
  std::vector<CanaryAnswers> answers(conversations.size());
  for (size_t i = 0; i < conversations.size(); ++i) {
    auto conversation = Open(client, conversations[i]);
    if (!conversation.has_value()) return answers;
    while (answers[i].texts.size() < conversations[i].questions.size()) {
      if (!Turn(*conversation, conversations[i], &answers[i])) return answers;
    }
  }
  return answers;
}

std::vector<CanaryAnswers> HoldTogether(client::Client& client,
                                        const std::vector<CanaryConversation>& conversations,
                                        int threads) {
  std::vector<CanaryAnswers> answers(conversations.size());
  std::vector<std::optional<client::Conversation>> open;
  for (const CanaryConversation& canary : conversations) open.push_back(Open(client, canary));
  Deck deck(conversations);
  const auto talk = [&] {
    while (const auto drawn = deck.Draw()) {
      auto& conversation = open[*drawn];
      if (!conversation.has_value()) return;
      if (!Turn(*conversation, conversations[*drawn], &answers[*drawn])) return;
      deck.PutBack(*drawn);
    }
  };
  std::vector<std::thread> talking;
  for (int i = 0; i < threads; ++i) talking.emplace_back(talk);
  for (std::thread& thread : talking) thread.join();
  talk();  // what the last ones put back after others found nothing
  return answers;
}

CanaryFigures CheckAnswers(const std::vector<CanaryConversation>& conversations,
                           const std::vector<CanaryAnswers>& alone,
                           const std::vector<CanaryAnswers>& together) {
  CanaryFigures figures;
  for (size_t i = 0; i < conversations.size(); ++i) {
    EXPECT_EQ(together[i].tokens, alone[i].tokens) << "conversation " << i;
    EXPECT_EQ(together[i].texts.size(), conversations[i].questions.size());
    for (const std::string& text : together[i].texts) {
      const std::string said = Lower(text);
      ++figures.turns;
      for (size_t other = 0; other < conversations.size(); ++other) {
        const bool has = said.find(Lower(conversations[other].secret)) != std::string::npos;
        if (other == i) figures.repeats += has ? 1 : 0;
        EXPECT_FALSE(has && other != i) << "the secret of " << other << " in " << i << ": " << text;
      }
    }
  }
  return figures;
}

}  // namespace concertina::testing
