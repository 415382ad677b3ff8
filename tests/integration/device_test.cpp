// The server with the language model on a LibTorch device, against the server on its own kernels.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/errors.h"
#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

constexpr int kTurns = 3;

struct Script {
  std::string policy;
  v1::MergeMode merge;
  double ratio;
  int64_t tokens;  // counts before the ratio; 0: none
  bool picture;
  std::array<std::string, kTurns> questions;
};

std::vector<Script> Scripts() {
  const auto none = v1::MERGE_MODE_UNSPECIFIED;
  return {
      {"concertina", none, 0.2, 0, false, {"What is a concertina?", "Who plays it?", "Why?"}},
      {"concertina", none, 0, 24, true, {"Describe the image.", "Where is the carrot?", "Go on."}},
      {"concertina", none, 0, 1, false, {"One", "Two is more than one.", "Three"}},
      {"elastic", v1::MERGE_MODE_MASS, 0.5, 0, true, {"What is this?", "And what is that?", "So?"}},
      {"elastic", none, 0, 30, false, {"Tell me a long story, please.", "And then?", "The end?"}},
      {"full", none, 1.0, 0, true, {"Look at this.", "Is it a dog?", "Are you sure about that?"}},
  };
}

client::OpenOptions OpenFor(const Script& script) {
  client::OpenOptions open;
  open.policy.emplace().set_name(script.policy);
  open.policy->set_merge(script.merge);
  open.policy->set_on_context_end(v1::ON_CONTEXT_END_REFUSE);
  if (script.tokens > 0) {
    open.budget.emplace().set_tokens(script.tokens);
  } else {
    open.budget.emplace().set_ratio(script.ratio);
  }
  return open;
}

client::AskOptions Exactly(int tokens) {
  client::AskOptions options;
  options.max_tokens = tokens;
  options.ignore_eos = true;
  return options;
}

struct Turn {
  std::vector<int32_t> tokens;
  int64_t live_entries = 0, seen = 0, prompt_tokens = 0, dropped_layers = 0;

  bool operator==(const Turn&) const = default;
};

Turn TurnOf(const client::Answer& answer) {
  Turn turn{.tokens = answer.token_ids,
            .live_entries = answer.completed.cache().live_entries(),
            .seen = answer.completed.cache().tokens_seen(),
            .prompt_tokens = answer.completed.usage().prompt_tokens()};
  if (answer.folded) turn.dropped_layers = answer.folded->layers_size();
  return turn;
}

// Of several conversations at once, and each with what went wrong in it.
std::vector<std::vector<Turn>> Talk(client::Client& client, const std::vector<Script>& scripts) {
  std::vector<std::vector<Turn>> turns(scripts.size());
  std::vector<std::thread> people;
  for (size_t i = 0; i < scripts.size(); ++i) {
    people.emplace_back([&, i] {
      auto conversation = client.Open(OpenFor(scripts[i]));
      ASSERT_TRUE(conversation.ok()) << conversation.status();
      for (int turn = 0; turn < kTurns; ++turn) {
        std::vector<v1::InputPart> parts;
        if (turn == 0 && scripts[i].picture) {
          parts.push_back(client::ImageFile(ReadWholeFile(SceneImage(0))));
        }
        parts.push_back(client::Text(scripts[i].questions[turn]));
        const auto answer = conversation->Ask(parts, Exactly(24));
        ASSERT_TRUE(answer.ok()) << answer.status();
        turns[i].push_back(TurnOf(*answer));
      }
    });
  }
  for (std::thread& person : people) person.join();
  return turns;
}

std::vector<std::string> OnDevice(std::vector<std::string> arguments = TinyLlava()) {
  arguments.insert(arguments.end(), {"--device", "torch:cpu", "--max-batch", "8"});
  return arguments;
}

class DeviceProcess : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = ServerProcess::Start(OnDevice());
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    client_ = server_->Connect();
  }

  client::Conversation Open(const client::OpenOptions& options = {}) {
    auto conversation = client_->Open(options);
    EXPECT_TRUE(conversation.ok()) << conversation.status();
    return *std::move(conversation);
  }

  static Turn Ask(client::Conversation& conversation, const std::string& text, int tokens = 16) {
    const auto answer = conversation.Ask({client::Text(text)}, Exactly(tokens));
    EXPECT_TRUE(answer.ok()) << answer.status();
    return answer.ok() ? TurnOf(*answer) : Turn();
  }

  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<client::Client> client_;
};

// The order of sums differs, so logits are not the same to the bit; that a step's likeliest token
// changes by it is not to be expected of a model this small.
TEST_F(DeviceProcess, SaysWhatTheCpuSaysInSeveralConversationsAtOnce) {
  const auto host = ServerProcess::Start(TinyLlava());
  ASSERT_TRUE(host.ok()) << host.status();
  const auto host_client = (*host)->Connect();
  const std::vector<Script> scripts = Scripts();
  const auto expected = Talk(*host_client, scripts);
  const auto found = Talk(*client_, scripts);
  for (size_t i = 0; i < scripts.size(); ++i) {
    ASSERT_EQ(expected[i].size(), static_cast<size_t>(kTurns));
    ASSERT_EQ(found[i].size(), static_cast<size_t>(kTurns));
    for (int turn = 0; turn < kTurns; ++turn) {
      SCOPED_TRACE("conversation " + std::to_string(i) + ", turn " + std::to_string(turn));
      EXPECT_EQ(found[i][turn].tokens, expected[i][turn].tokens);
      EXPECT_EQ(found[i][turn].live_entries, expected[i][turn].live_entries);
      EXPECT_EQ(found[i][turn].seen, expected[i][turn].seen);
      EXPECT_EQ(found[i][turn].prompt_tokens, expected[i][turn].prompt_tokens);
      EXPECT_EQ(found[i][turn].dropped_layers, expected[i][turn].dropped_layers);
    }
  }
}

TEST_F(DeviceProcess, ScoresAsTheCpuDoes) {
  const auto host = ServerProcess::Start(TinyLlava());
  ASSERT_TRUE(host.ok()) << host.status();
  const auto host_client = (*host)->Connect();
  for (const v1::ScoreFold fold : {v1::SCORE_FOLD_PREFILL_ONLY, v1::SCORE_FOLD_DECODE}) {
    v1::ScoreRequest request;
    request.mutable_prompt()->set_text("The quick brown fox jumps over the lazy dog, and so on.");
    request.mutable_continuation()->set_text("It had done so before, but never at this hour.");
    request.mutable_budget()->set_ratio(0.4);
    request.set_fold(fold);
    const auto expected = host_client->Score(request);
    const auto found = client_->Score(request);
    ASSERT_TRUE(expected.ok()) << expected.status();
    ASSERT_TRUE(found.ok()) << found.status();
    ASSERT_EQ(found->logprobs_size(), expected->logprobs_size());
    for (int i = 0; i < found->logprobs_size(); ++i) {
      EXPECT_NEAR(found->logprobs(i), expected->logprobs(i), 1e-3) << i;
    }
    EXPECT_EQ(found->cache().live_entries(), expected->cache().live_entries());
    ASSERT_EQ(found->layers_size(), expected->layers_size());
    for (int i = 0; i < found->layers_size(); ++i) {
      EXPECT_EQ(found->layers(i).entries_after(), expected->layers(i).entries_after());
      EXPECT_NEAR(found->layers(i).attention_mass_kept(), expected->layers(i).attention_mass_kept(),
                  1e-3);
    }
  }
}

TEST_F(DeviceProcess, TellsWhereItRuns) {
  const auto model = client_->GetModel();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->device(), "torch:cpu");
  EXPECT_FALSE(model->deterministic());
  EXPECT_EQ(model->weight_type(), "f32");
  EXPECT_EQ(model->default_entry_type(), v1::ENTRY_TYPE_F32);
  EXPECT_GT(model->weight_bytes(), 0);
  EXPECT_GT(model->parameters(), 0);
}

TEST_F(DeviceProcess, PagesAreCountedWhileSessionsComeAndGo) {
  EXPECT_EQ(server_->Gauge("kv_pool_used_bytes", 0), 0);
  int64_t sum = 0;
  {
    client::Conversation a = Open(), b = Open();
    Ask(a, "Hello there, who are you?");
    Ask(b, "Something else, and longer, so that there is more of it.");
    for (client::Conversation* conversation : {&a, &b}) {
      const auto info = conversation->Info();
      ASSERT_TRUE(info.ok()) << info.status();
      EXPECT_GT(info->cache().used_bytes(), 0);
      EXPECT_LE(info->cache().live_entries(), info->cache().budget_entries());
      EXPECT_EQ(info->cache().payload_bytes(), info->cache().live_entries() * 2 * 16 * 4);
      sum += info->cache().used_bytes();
    }
    EXPECT_EQ(server_->Gauge("kv_pool_used_bytes", static_cast<double>(sum)),
              static_cast<double>(sum));
  }
  EXPECT_EQ(server_->Gauge("kv_pool_used_bytes", 0), 0);
  EXPECT_EQ(server_->Gauge("kv_pool_reserved_bytes", 0), 0);
  client::Conversation again = Open();
  EXPECT_EQ(Ask(again, "Hello there, who are you?").tokens.size(), 16u);
}

TEST_F(DeviceProcess, ACacheGivenUpIsComputedAgain) {
  client::Conversation kept = Open(), lost = Open(), cut = Open();
  for (client::Conversation* conversation : {&kept, &lost, &cut}) {
    Ask(*conversation, "What is a concertina?");
    Ask(*conversation, "Who plays it?");
  }
  const auto admin = server_->ConnectAdmin();
  const auto freed = admin->EvictSession(lost.id());
  ASSERT_TRUE(freed.ok()) << freed.status();
  EXPECT_EQ(lost.Info()->cache().used_bytes(), 0);
  const Turn expected = Ask(kept, "Where does it come from?");
  EXPECT_EQ(Ask(lost, "Where does it come from?"), expected);
  // Back to the first turn, and on by the same way.
  ASSERT_TRUE(cut.Truncate(1).ok());
  Ask(cut, "Who plays it?");
  EXPECT_EQ(Ask(cut, "Where does it come from?"), expected);
}

TEST_F(DeviceProcess, AStoppedAnswerLeavesTheOthersAlone) {
  client::Conversation alone = Open();
  const Turn expected = Ask(alone, "Tell me a story.", 60);
  client::Conversation stopped = Open(), other = Open();
  std::thread stop([&] {
    int pieces = 0;
    const auto answer = stopped.Ask({client::Text("Go on and on.")}, Exactly(300),
                                    [&](std::string_view) { return ++pieces < 5; });
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_TRUE(answer->stopped);
  });
  EXPECT_EQ(Ask(other, "Tell me a story.", 60).tokens, expected.tokens);
  stop.join();
  EXPECT_EQ(Ask(stopped, "And now?").tokens.size(), 16u);
}

TEST_F(DeviceProcess, ABudgetMayChange) {
  client::Conversation conversation = Open();
  Ask(conversation, "A question that has a good many words in it, so that there is much to keep.");
  v1::Budget budget;
  budget.set_tokens(4);
  const auto changed = conversation.SetBudget(budget);
  ASSERT_TRUE(changed.ok()) << changed.status();
  const Turn turn = Ask(conversation, "And another one.");
  EXPECT_EQ(turn.live_entries, 4 * 3 * 4) << "layers and heads";
}

TEST_F(DeviceProcess, SamplingIsTheServersOwn) {
  client::AskOptions options = Exactly(20);
  options.sampling.set_temperature(1.0F);
  options.sampling.set_seed(7);
  options.logprobs = true;
  std::vector<std::vector<int32_t>> answers;
  for (int i = 0; i < 2; ++i) {
    client::Conversation conversation = Open();
    const auto answer = conversation.Ask({client::Text("Say something.")}, options);
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->logprobs.size(), 20u);
    answers.push_back(answer->token_ids);
  }
  EXPECT_EQ(answers[0], answers[1]);
}

void ExpectRefused(const absl::Status& status, absl::StatusCode code, const std::string& field) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_EQ(client::DetailsOf(status).reason, "NOT_ON_DEVICE") << status;
  EXPECT_EQ(client::DetailsOf(status).field, field) << status;
}

TEST_F(DeviceProcess, WhatTheDeviceCannotDoIsRefusedByName) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  client::OpenOptions bytes;
  bytes.budget.emplace().set_bytes(1 << 20);
  ExpectRefused(client_->Open(bytes).status(), invalid, "budget.bytes");
  client::OpenOptions probe;
  probe.policy.emplace().set_probe_tokens(8);
  ExpectRefused(client_->Open(probe).status(), invalid, "policy.probe_tokens");
  probe.policy.emplace().set_min_quality(0.5);
  ExpectRefused(client_->Open(probe).status(), invalid, "policy.min_quality");
  client::OpenOptions pictures;
  pictures.policy.emplace().set_image_budget(0.5);
  ExpectRefused(client_->Open(pictures).status(), invalid, "policy.image_budget");
  client::OpenOptions int8;
  int8.policy.emplace().set_entry_type(v1::ENTRY_TYPE_INT8);
  ExpectRefused(client_->Open(int8).status(), invalid, "policy.entry_type");
  client::OpenOptions rebase;
  rebase.policy.emplace().set_on_context_end(v1::ON_CONTEXT_END_REBASE);
  ExpectRefused(client_->Open(rebase).status(), invalid, "policy.on_context_end");
  for (const char* name :
       {"concertina-hq", "h2o", "keydiff", "local", "official", "prefixkv", "random", "snapkv"}) {
    client::OpenOptions policy;
    policy.policy.emplace().set_name(name);
    ExpectRefused(client_->Open(policy).status(), invalid, "policy.name");
  }
  client::Conversation conversation = Open();
  ExpectRefused(conversation.SetBudget(*bytes.budget).status(), invalid, "budget.bytes");
  ExpectRefused(conversation.Fork().status(), absl::StatusCode::kUnimplemented, "");
  // At the trained context it ends, and says so.
  EXPECT_EQ(conversation.Info()->policy().on_context_end(), v1::ON_CONTEXT_END_REFUSE);
  const auto beyond = conversation.Ask({client::Text("Tell me a story.")}, Exactly(600));
  EXPECT_EQ(client::DetailsOf(beyond.status()).reason, "CONTEXT_EXHAUSTED") << beyond.status();
  EXPECT_EQ(Ask(conversation, "Tell me a story.").tokens.size(), 16u);
}

TEST(Device, WeightsAndEntriesAreBf16UnlessTheyAreNamed) {
  const auto server =
      ServerProcess::Start({"--model", CONCERTINA_SOURCE_DIR "/tests/goldens/llava15-tiny",
                            "--pool-bytes", "16MiB", "--max-batch", "2", "--device", "torch:cpu"});
  ASSERT_TRUE(server.ok()) << server.status();
  const auto client = (*server)->Connect();
  const auto model = client->GetModel();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->weight_type(), "bf16");
  EXPECT_EQ(model->default_entry_type(), v1::ENTRY_TYPE_BF16);
  auto conversation = client->Open();
  ASSERT_TRUE(conversation.ok()) << conversation.status();
  for (const char* text : {"What is this?", "And why?"}) {
    const auto answer = conversation->Ask(
        {client::ImageFile(ReadWholeFile(SceneImage(1))), client::Text(text)}, Exactly(20));
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->token_ids.size(), 20u);
  }
}

TEST(Device, AServerThatLacksItEndsWithTheReason) {
  std::vector<std::string> arguments = TinyLlava();
  arguments.insert(arguments.end(), {"--device", "cuda:99"});
  const auto server = ServerProcess::Start(arguments);
  ASSERT_FALSE(server.ok());
  EXPECT_NE(std::string(server.status().message()).find("cuda:99 is not there: "),
            std::string::npos)
      << server.status();
}

}  // namespace
}  // namespace concertina::testing
