// Pictures' budgets through the API: what sessions keep, what is given back, and what is refused.
#include <cmath>
#include <limits>

#include "tests/rpc/server_fixture.h"

namespace concertina::testing {
namespace {

constexpr int64_t kImageTokens = 16;
constexpr int64_t kHeads = 3 * 4;  // layers x KV heads of the tiny model

class ImageBudgetTest : public ServerTest {
 protected:
  static v1::OpenSessionRequest OpenWith(const std::string& policy, double image_budget,
                                         bool merge = false) {
    v1::OpenSessionRequest request;
    request.mutable_policy()->set_name(policy);
    request.mutable_policy()->set_image_budget(image_budget);
    request.mutable_policy()->set_merge_images(merge);
    request.mutable_budget()->set_ratio(1);
    return request;
  }

  Turn AskAboutPicture(const std::string& id) {
    v1::GenerateRequest request = TextTurn(id, "What is shown in this image?", 12);
    request.add_parts()->mutable_image()->set_data(
        ReadFileOrDie(CONCERTINA_SOURCE_DIR "/tests/goldens/llava15-tiny/images/rgb_64x48.png"));
    request.set_ignore_eos(true);
    request.set_logprobs(true);
    Turn turn = RunTurn(stub(), request);
    EXPECT_TRUE(turn.status.ok()) << turn.status.error_message();
    return turn;
  }

  std::vector<float> LogprobsOfNext(const std::string& id) {
    v1::GenerateRequest request = TextTurn(id, "And what is behind it?", 12);
    request.set_ignore_eos(true);
    request.set_logprobs(true);
    const Turn turn = RunTurn(stub(), request);
    EXPECT_TRUE(turn.status.ok()) << turn.status.error_message();
    std::vector<float> logprobs;
    for (const auto& event : turn.events) {
      logprobs.insert(logprobs.end(), event.delta().logprobs().begin(),
                      event.delta().logprobs().end());
    }
    return logprobs;
  }

  std::string FieldRefused(const v1::OpenSessionRequest& request) {
    grpc::ClientContext context;
    v1::OpenSessionResponse response;
    const grpc::Status status = stub().OpenSession(&context, request, &response);
    EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT) << request.ShortDebugString();
    return DetailsOf(status).field;
  }
};

TEST_F(ImageBudgetTest, APictureKeepsItsPartAndTextTheRest) {
  StartServer();
  for (const bool merge : {false, true}) {
    for (const double share : {0.01, 0.25, 0.5, 1.0}) {
      const std::string id = OpenOrDie(stub(), OpenWith("concertina", share, merge));
      for (int pictures = 1; pictures <= 2; ++pictures) {
        const Turn turn = AskAboutPicture(id);
        const auto most = std::max<int64_t>(1, static_cast<int64_t>(share * kImageTokens));
        const v1::Session session = SessionOrDie(id);
        EXPECT_EQ(session.policy().image_budget(), share);
        EXPECT_EQ(session.policy().merge_images(), merge);
        const v1::CacheState& cache = session.cache();
        EXPECT_EQ(cache.live_entries(),
                  (cache.tokens_seen() - pictures * (kImageTokens - most)) * kHeads);
        EXPECT_EQ(cache.budget_entries(), cache.live_entries());
        ASSERT_NE(turn.folded(), nullptr);
        for (const v1::LayerFold& layer : turn.folded()->layers()) {
          EXPECT_EQ(layer.entries_before() - layer.entries_after(), (kImageTokens - most) * 4);
        }
      }
    }
  }
}

// Within the session's budget, whatever its unit.
TEST_F(ImageBudgetTest, TheSessionsBudgetHolds) {
  StartServer();
  for (const double share : {0.25, 1.0}) {
    v1::OpenSessionRequest open = OpenWith("concertina", share, /*merge=*/true);
    open.mutable_budget()->set_ratio(0.3);
    const std::string id = OpenOrDie(stub(), open);
    open.mutable_budget()->set_tokens(15);
    const std::string tokens = OpenOrDie(stub(), open);
    for (int turn = 0; turn < 3; ++turn) {
      AskAboutPicture(id);
      AskAboutPicture(tokens);
      const v1::CacheState cache = SessionOrDie(id).cache();
      EXPECT_EQ(cache.live_entries(),
                static_cast<int64_t>(0.3 * static_cast<double>(cache.tokens_seen())) * kHeads);
      EXPECT_EQ(SessionOrDie(tokens).cache().live_entries(), 15 * kHeads);
    }
  }
}

TEST_F(ImageBudgetTest, WhatIsMergedIsSeenAndForked) {
  StartServer();
  std::vector<std::vector<float>> logprobs;
  for (const bool merge : {false, true}) {
    const std::string id = OpenOrDie(stub(), OpenWith("concertina", 0.25, merge));
    AskAboutPicture(id);
    grpc::ClientContext context;
    v1::ForkSessionRequest fork;
    fork.set_session_id(id);
    v1::ForkSessionResponse forked;
    ASSERT_TRUE(stub().ForkSession(&context, fork, &forked).ok());
    EXPECT_EQ(forked.session().policy().image_budget(), 0.25);
    EXPECT_EQ(forked.session().policy().merge_images(), merge);
    logprobs.push_back(LogprobsOfNext(id));
    EXPECT_EQ(LogprobsOfNext(forked.session().session_id()), logprobs.back());
  }
  EXPECT_NE(logprobs[0], logprobs[1]);
}

TEST_F(ImageBudgetTest, TheServerHasADefault) {
  StartServer([](ServerConfig& config) { config.engine.default_image_budget = 0.5; });
  grpc::ClientContext context;
  v1::GetModelResponse model;
  ASSERT_TRUE(stub().GetModel(&context, {}, &model).ok());
  EXPECT_EQ(model.default_policy().image_budget(), 0.5);
  EXPECT_EQ(SessionOrDie(OpenOrDie(stub())).policy().image_budget(), 0.5);
  EXPECT_EQ(SessionOrDie(OpenOrDie(stub(), OpenWith("concertina", 0.0))).policy().image_budget(),
            0);
  v1::OpenSessionRequest full;
  full.mutable_policy()->set_name("full");
  EXPECT_EQ(SessionOrDie(OpenOrDie(stub(), full)).policy().image_budget(), 0);
}

TEST_F(ImageBudgetTest, BadValuesAndWhatWouldNotActAreRefused) {
  StartServer();
  for (const double share : {-0.1, 1.01, std::nan(""), std::numeric_limits<double>::infinity()}) {
    EXPECT_EQ(FieldRefused(OpenWith("concertina", share)), "policy.image_budget") << share;
  }
  for (const char* policy : {"full", "official"}) {
    EXPECT_EQ(FieldRefused(OpenWith(policy, 0.5)), "policy.image_budget") << policy;
  }
  v1::OpenSessionRequest packed = OpenWith("concertina", 0.5);
  packed.mutable_policy()->set_entry_type(v1::ENTRY_TYPE_PACKED);
  EXPECT_EQ(FieldRefused(packed), "policy.image_budget");
  for (const auto fold : {v1::TURN_FOLD_ISOLATE, v1::TURN_FOLD_FAIR}) {
    v1::OpenSessionRequest turns = OpenWith("concertina", 0.5);
    turns.mutable_policy()->set_turn_fold(fold);
    EXPECT_EQ(FieldRefused(turns), "policy.image_budget");
  }
  EXPECT_EQ(FieldRefused(OpenWith("concertina", 0, /*merge=*/true)), "policy.merge_images");
  EXPECT_EQ(FieldRefused(OpenWith("elastic", 0.5, /*merge=*/true)), "policy.merge_images");
  v1::OpenSessionRequest evicting = OpenWith("elastic", 0.5, /*merge=*/true);
  evicting.mutable_policy()->set_merge(v1::MERGE_MODE_NONE);
  EXPECT_TRUE(SessionOrDie(OpenOrDie(stub(), evicting)).policy().merge_images());
}

TEST_F(ImageBudgetTest, AScoreHasNoPictures) {
  StartServer();
  for (const bool merge : {false, true}) {
    v1::ScoreRequest request;
    request.mutable_prompt()->set_text("one two three");
    request.mutable_continuation()->set_text(" four");
    if (merge) {
      request.mutable_policy()->set_merge_images(true);
    } else {
      request.mutable_policy()->set_image_budget(0.5);
    }
    grpc::ClientContext context;
    v1::ScoreResponse response;
    const grpc::Status status = stub().Score(&context, request, &response);
    EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
    EXPECT_EQ(DetailsOf(status).field, merge ? "policy.merge_images" : "policy.image_budget");
  }
}

}  // namespace
}  // namespace concertina::testing
