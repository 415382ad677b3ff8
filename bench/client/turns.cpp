#include "bench/client/turns.h"

#include <fstream>
#include <sstream>
#include <thread>
#include <utility>

namespace concertina::bench {
namespace {

ClientTurn RunTurn(client::Conversation& conversation, const std::string& prompt, int generate) {
  ClientTurn turn;
  client::AskOptions options;
  options.max_tokens = generate;
  options.ignore_eos = true;
  options.on_event = [&](const v1::GenerateResponse& event) {
    if (!event.has_delta()) return;
    turn.tokens.insert(turn.tokens.end(), static_cast<size_t>(event.delta().token_ids_size()),
                       BenchClock::now());
  };
  const auto answer = conversation.Ask({client::Text(prompt)}, options);
  turn.status = answer.status();
  if (!answer.ok()) return turn;
  const auto session = conversation.Info();
  turn.status = session.status();
  if (session.ok()) turn.used_bytes = session->cache().used_bytes();
  return turn;
}

}  // namespace

absl::StatusOr<std::vector<ClientTurn>> RunTurns(std::vector<client::Conversation>& conversations,
                                                 const std::vector<std::string>& prompts,
                                                 int generate) {
  std::vector<ClientTurn> turns(prompts.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < prompts.size(); ++i) {
    threads.emplace_back([&, i] { turns[i] = RunTurn(conversations[i], prompts[i], generate); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const ClientTurn& turn : turns) {
    if (!turn.status.ok()) return turn.status;
    if (turn.tokens.empty()) return absl::InternalError("no tokens came");
  }
  return turns;
}

std::vector<Arrivals> ArrivalsOf(const std::vector<ClientTurn>& turns) {
  std::vector<Arrivals> arrivals;
  for (const ClientTurn& turn : turns) arrivals.push_back(turn.tokens);
  return arrivals;
}

absl::StatusOr<std::vector<std::string>> MakePrompts(client::Client& client,
                                                     const std::string& text_path, int count,
                                                     int tokens) {
  std::ostringstream text;
  text << std::ifstream(text_path).rdbuf();
  v1::TokenizeRequest request;
  request.set_text(text.str());
  const auto made = client.Tokenize(request);
  if (!made.ok()) return made.status();
  const int spare = made->pieces_size() - tokens;
  if (spare < 0) return absl::InvalidArgumentError("the text is too short for such prompts");
  std::vector<std::string> prompts;
  for (int i = 0; i < count; ++i) {
    const int first = count > 1 ? spare * i / (count - 1) : 0;
    std::string prompt;
    for (int j = 0; j < tokens; ++j) prompt += made->pieces(first + j);
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

absl::StatusOr<std::vector<client::Conversation>> OpenMany(client::Client& client, int count,
                                                           const std::string& policy,
                                                           double ratio) {
  client::OpenOptions open;
  open.policy.emplace().set_name(policy);
  open.budget.emplace().set_ratio(ratio);
  std::vector<client::Conversation> conversations;
  for (int i = 0; i < count; ++i) {
    auto conversation = client.Open(open);
    if (!conversation.ok()) return conversation.status();
    conversations.push_back(*std::move(conversation));
  }
  return conversations;
}

}  // namespace concertina::bench
