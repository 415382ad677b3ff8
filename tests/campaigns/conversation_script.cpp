#include "tests/campaigns/conversation_script.h"

#include "absl/strings/str_cat.h"
#include "tests/campaigns/campaign.h"
#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

constexpr uint32_t kStream = 32;
constexpr int kScenes = 4;

}  // namespace

std::vector<Script> DrawScripts(int count, int32_t max_tokens) {
  static const std::vector<std::string> kPolicies = {"concertina", "concertina", "elastic", "full"};
  static const std::vector<double> kBudgets = {0.1, 0.2, 0.3, 0.5};
  static const std::vector<std::string> kQuestions = {
      "Describe the image in detail.",  "What is in this picture?",
      "Where is the carrot?",           "How many fish are there?",
      "What colour is the background?", "Is there a tractor?",
      "What is at the bottom?",         "Where is the glove?"};
  std::mt19937 random = RandomStream(kStream);
  const auto pick = [&](const auto& from) {
    return from[static_cast<size_t>(Draw(random, 0, static_cast<int>(from.size()) - 1))];
  };
  std::vector<Script> scripts;
  for (int i = 0; i < count; ++i) {
    Script script;
    script.policy = pick(kPolicies);
    script.budget = script.policy == "full" ? 1.0 : pick(kBudgets);
    script.scene = Draw(random, 0, kScenes - 1);
    script.second_scene = Draw(random, -1, kScenes - 1);
    for (std::string& question : script.questions) question = pick(kQuestions);
    script.max_tokens = max_tokens;
    scripts.push_back(std::move(script));
  }
  return scripts;
}

std::string Describe(const Script& script) {
  return absl::StrCat(script.policy, " ", script.budget, ", scenes ", script.scene, " and ",
                      script.second_scene);
}

void Talk::AddTimes(const Talk& other) {
  first_ms.insert(first_ms.end(), other.first_ms.begin(), other.first_ms.end());
  between_ms.insert(between_ms.end(), other.between_ms.begin(), other.between_ms.end());
}

void TokenTimes::OnEvent(const v1::GenerateResponse& event) {
  if (event.delta().token_ids().empty()) return;
  (first_ ? talk_->first_ms : talk_->between_ms).push_back(MsSince(last_));
  first_ = false;
  last_ = std::chrono::steady_clock::now();
}

Talk Converse(client::Client& client, const Script& script) {
  Talk talk;
  client::OpenOptions open;
  open.policy.emplace().set_name(script.policy);
  open.budget.emplace().set_ratio(script.budget);
  auto conversation = client.Open(open);
  if (!conversation.ok()) {
    talk.error = conversation.status().ToString();
    return talk;
  }
  for (int turn = 0; turn < kScriptTurns; ++turn) {
    const int scene = turn == 0 ? script.scene : turn == 2 ? script.second_scene : -1;
    std::vector<v1::InputPart> parts;
    if (scene >= 0) parts.push_back(client::ImageFile(ReadWholeFile(SceneImage(scene))));
    parts.push_back(client::Text(script.questions[static_cast<size_t>(turn)]));
    client::AskOptions options;
    options.max_tokens = script.max_tokens;
    TokenTimes times(&talk);
    options.on_event = [&](const v1::GenerateResponse& event) { times.OnEvent(event); };
    const auto answer = conversation->Ask(parts, options);
    if (!answer.ok()) {
      talk.error = answer.status().ToString();
      return talk;
    }
    talk.tokens.push_back(answer->token_ids);
  }
  return talk;
}

}  // namespace concertina::testing
