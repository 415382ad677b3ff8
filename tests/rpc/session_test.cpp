// The life of a conversation through every method.

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/rpc/server_fixture.h"

namespace concertina::testing {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

constexpr char kImages[] = CONCERTINA_SOURCE_DIR "/tests/goldens/llava15-tiny/images/";

class SessionTest : public ServerTest {};

v1::GenerateRequest PictureTurn(const std::string& session_id, int32_t max_tokens) {
  v1::GenerateRequest request;
  request.set_session_id(session_id);
  request.add_parts()->mutable_image()->set_data(
      ReadFileOrDie(std::string(kImages) + "rgb_64x48.png"));
  request.add_parts()->set_text("What is shown in this image?");
  request.set_max_tokens(max_tokens);
  request.set_ignore_eos(true);
  return request;
}

v1::OpenSessionRequest WithPolicy(const std::string& name, double ratio) {
  v1::OpenSessionRequest request;
  request.mutable_policy()->set_name(name);
  request.mutable_budget()->set_ratio(ratio);
  return request;
}

TEST_F(SessionTest, FullCacheAnswersAsTheReferenceDoes) {
  StartServer();
  const auto cases = nlohmann::json::parse(
      ReadFileOrDie(CONCERTINA_SOURCE_DIR "/tests/goldens/llava15-tiny/cases.json"))["cases"];
  const std::string id = OpenOrDie(stub(), WithPolicy("full", 1));
  const Turn turn = RunTurn(stub(), PictureTurn(id, cases[0]["n_new"]));
  ASSERT_TRUE(turn.status.ok()) << turn.status.error_message();
  EXPECT_EQ(turn.completed()->usage().prompt_tokens(), cases[0]["prompt_tokens"]);
  EXPECT_EQ(turn.text, cases[0]["greedy_text"]);
}

TEST_F(SessionTest, EventsComeInOrderAndAddUp) {
  StartServer();
  const std::string id = OpenOrDie(stub(), WithPolicy("concertina", 0.25));
  v1::GenerateRequest request = PictureTurn(id, 12);
  request.set_logprobs(true);
  const Turn turn = RunTurn(stub(), request);
  ASSERT_TRUE(turn.status.ok()) << turn.status.error_message();
  // started, prefill_progress*, folded, delta*, completed: the field numbers of the oneof never go
  // down.
  for (size_t i = 1; i < turn.events.size(); ++i) {
    EXPECT_LE(turn.events[i - 1].event_case(), turn.events[i].event_case());
  }
  ASSERT_NE(turn.started(), nullptr);
  ASSERT_NE(turn.folded(), nullptr);
  ASSERT_NE(turn.completed(), nullptr);
  EXPECT_EQ(turn.started()->turn(), 1);
  EXPECT_EQ(turn.folded()->layers_size(), 3);
  int64_t before = 0;
  int64_t after = 0;
  for (const v1::LayerFold& layer : turn.folded()->layers()) {
    before += layer.entries_before();
    after += layer.entries_after();
    EXPECT_GT(layer.attention_mass_kept(), 0);
    EXPECT_LE(layer.attention_mass_kept(), 1);
  }
  const v1::Usage& usage = turn.completed()->usage();
  EXPECT_EQ(before, usage.prompt_tokens() * 3 * 4);
  EXPECT_EQ(after, usage.prompt_tokens() / 4 * 3 * 4);
  EXPECT_EQ(turn.folded()->cache().live_entries(), after);
  EXPECT_EQ(usage.image_tokens(), 16);
  EXPECT_EQ(usage.carried_tokens(), 0);
  EXPECT_EQ(usage.generated_tokens(), 12);
  EXPECT_EQ(turn.token_ids.size(), 12U);
  int logprobs = 0;
  for (const auto& event : turn.events) {
    for (const float logprob : event.delta().logprobs()) {
      EXPECT_LE(logprob, 0);
      ++logprobs;
    }
  }
  EXPECT_EQ(logprobs, 12);
  EXPECT_EQ(turn.completed()->finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_GT(turn.completed()->timings().prefill().nanos(), 0);
}

TEST_F(SessionTest, SeveralTurnsShareOneCache) {
  StartServer();
  v1::OpenSessionRequest open = WithPolicy("elastic", 0.5);
  open.set_session_id("0b9e4c1e-57d0-4b8a-9c3e-3f2b6a7d8e90");
  open.mutable_policy()->set_pure_sink(true);
  const std::string id = OpenOrDie(stub(), open);
  EXPECT_EQ(id, open.session_id());
  const Turn first = RunTurn(stub(), PictureTurn(id, 8));
  ASSERT_TRUE(first.status.ok()) << first.status.error_message();
  v1::GenerateRequest follow_up = TextTurn(id, "And where?", 8);
  follow_up.set_expected_turn(1);
  const Turn second = RunTurn(stub(), follow_up);
  ASSERT_TRUE(second.status.ok()) << second.status.error_message();
  EXPECT_EQ(second.started()->turn(), 2);
  EXPECT_GT(second.completed()->usage().carried_tokens(), 40);
  const v1::Session session = SessionOrDie(id);
  EXPECT_EQ(session.turns(), 2);
  EXPECT_EQ(session.state(), v1::SESSION_STATE_IDLE);
  EXPECT_EQ(session.policy().name(), "elastic");
  EXPECT_TRUE(session.policy().pure_sink());
  EXPECT_EQ(session.cache().budget().ratio(), 0.5);
  EXPECT_EQ(session.cache().used_bytes(), second.completed()->cache().used_bytes());
  EXPECT_GE(session.last_used_time().seconds(), session.create_time().seconds());
}

TEST_F(SessionTest, BudgetChangesLive) {
  StartServer();
  const std::string id = OpenOrDie(stub(), WithPolicy("concertina", 1));
  const Turn before = RunTurn(stub(), PictureTurn(id, 4));
  v1::UpdateSessionRequest update;
  update.set_session_id(id);
  update.mutable_budget()->set_tokens(8);
  update.mutable_update_mask()->add_paths("budget");
  v1::UpdateSessionResponse updated;
  grpc::ClientContext context;
  ASSERT_TRUE(stub().UpdateSession(&context, update, &updated).ok());
  EXPECT_EQ(updated.session().cache().budget().tokens(), 8);
  const Turn after = RunTurn(stub(), TextTurn(id, "Go on.", 4));
  ASSERT_TRUE(after.status.ok()) << after.status.error_message();
  EXPECT_LE(after.completed()->cache().live_entries(), 8 * 3 * 4);
  EXPECT_LT(after.completed()->cache().used_bytes(), before.completed()->cache().used_bytes());
}

TEST_F(SessionTest, HistoryIsReplayed) {
  StartServer();
  const std::string live = OpenOrDie(stub(), WithPolicy("full", 1));
  const Turn first = RunTurn(stub(), TextTurn(live, "Hello.", 4));
  ASSERT_TRUE(first.status.ok());
  v1::OpenSessionRequest open = WithPolicy("full", 1);
  auto* user = open.add_history();
  user->set_role(v1::ROLE_USER);
  user->add_parts()->mutable_image()->set_data(
      ReadFileOrDie(std::string(kImages) + "photo_150x90.jpg"));
  user->add_parts()->set_text("What is this?");
  auto* assistant = open.add_history();
  assistant->set_role(v1::ROLE_ASSISTANT);
  assistant->add_parts()->set_text("A picture.");
  const std::string id = OpenOrDie(stub(), open);
  EXPECT_GT(SessionOrDie(id).cache().tokens_seen(), 16);
  const Turn turn = RunTurn(stub(), TextTurn(id, "Go on.", 4));
  ASSERT_TRUE(turn.status.ok()) << turn.status.error_message();
  EXPECT_GT(turn.completed()->usage().carried_tokens(), 16);
}

TEST_F(SessionTest, ClosedSessionsGiveEverythingBack) {
  StartServer();
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) {
    ids.push_back(OpenOrDie(stub()));
    ASSERT_TRUE(RunTurn(stub(), PictureTurn(ids.back(), 4)).status.ok());
  }
  for (const std::string& id : ids) {
    v1::CloseSessionRequest request;
    request.set_session_id(id);
    for (const bool existed : {true, false}) {
      grpc::ClientContext context;
      v1::CloseSessionResponse response;
      ASSERT_TRUE(stub().CloseSession(&context, request, &response).ok());
      EXPECT_EQ(response.existed(), existed);
    }
  }
  EXPECT_TRUE(Eventually([&] {
    const EngineGauges now = server().runtime().engine().gauges();
    return now.pool_used_bytes == 0 && now.sessions_active == 0;
  }));
}

TEST_F(SessionTest, ListingGoesPageByPage) {
  StartServer();
  std::vector<std::string> opened;
  for (int i = 0; i < 5; ++i) opened.push_back(OpenOrDie(stub()));
  std::sort(opened.begin(), opened.end());
  std::vector<std::string> listed;
  v1::ListSessionsRequest request;
  request.set_page_size(2);
  for (int page = 0; page < 3; ++page) {
    grpc::ClientContext context;
    v1::ListSessionsResponse response;
    ASSERT_TRUE(stub().ListSessions(&context, request, &response).ok());
    for (const v1::Session& session : response.sessions()) listed.push_back(session.session_id());
    EXPECT_EQ(response.next_page_token().empty(), page == 2);
    request.set_page_token(response.next_page_token());
  }
  EXPECT_THAT(listed, ElementsAreArray(opened));
}

TEST_F(SessionTest, ModelIsDescribed) {
  StartServer();
  grpc::ClientContext context;
  v1::GetModelResponse model;
  ASSERT_TRUE(stub().GetModel(&context, {}, &model).ok());
  EXPECT_EQ(model.name(), "llava15-tiny");
  EXPECT_EQ(model.chat_family(), "llava-1.5");
  EXPECT_EQ(model.layers(), 3);
  EXPECT_EQ(model.heads(), 4);
  EXPECT_EQ(model.kv_heads(), 4);
  EXPECT_EQ(model.head_dim(), 16);
  EXPECT_EQ(model.hidden_size(), 64);
  EXPECT_EQ(model.vocab_size(), 400);
  EXPECT_EQ(model.image_tokens(), 16);
  EXPECT_EQ(model.weight_type(), "f32");
  EXPECT_TRUE(model.deterministic());
  EXPECT_GT(model.weight_bytes(), 0);
  EXPECT_FALSE(model.kernels().empty());
  EXPECT_EQ(model.default_policy().name(), "concertina");
  EXPECT_EQ(model.default_budget().ratio(), 0.2);
  EXPECT_EQ(model.default_entry_type(), v1::ENTRY_TYPE_F32);
  EXPECT_THAT(model.policies(), ::testing::IsSupersetOf({"full", "elastic", "concertina", "h2o"}));
}

TEST_F(SessionTest, EveryCopyOfTheWeightsIsListed) {
  StartServer();
  grpc::ClientContext context;
  v1::GetModelResponse model;
  ASSERT_TRUE(stub().GetModel(&context, {}, &model).ok());
  ASSERT_EQ(model.weight_copies_size(), 2);
  const v1::WeightCopy& language = model.weight_copies(0);
  const v1::WeightCopy& vision = model.weight_copies(1);
  EXPECT_EQ(language.role(), v1::WEIGHT_ROLE_ALL);
  EXPECT_EQ(vision.role(), v1::WEIGHT_ROLE_VISION);
  for (const v1::WeightCopy& copy : model.weight_copies()) {
    EXPECT_EQ(copy.type(), "f32");
    EXPECT_EQ(copy.rows_from(), 1);
    EXPECT_GE(copy.bytes(), 4 * copy.parameters());
    EXPECT_DOUBLE_EQ(copy.bytes_per_parameter() * static_cast<double>(copy.parameters()),
                     static_cast<double>(copy.bytes()));
  }
  EXPECT_EQ(model.parameters(), language.parameters() + vision.parameters());
  // The rest: norms.
  EXPECT_GE(model.weight_bytes(), language.bytes() + vision.bytes());
}

TEST_F(SessionTest, PiecesSpellTheText) {
  StartServer();
  v1::TokenizeRequest request;
  request.set_text("naïve </s> 今");
  for (const bool special : {false, true}) {
    request.set_allow_special(special);
    request.set_add_special(special);
    grpc::ClientContext context;
    v1::TokenizeResponse response;
    ASSERT_TRUE(stub().Tokenize(&context, request, &response).ok());
    ASSERT_EQ(response.ids_size(), response.pieces_size());
    std::string text;
    for (const std::string& piece : response.pieces()) text += piece;
    EXPECT_THAT(text, HasSubstr("今"));
    // "</s>" is a token of its own only where special tokens are parsed.
    EXPECT_EQ(std::count(response.ids().begin(), response.ids().end(), 2), special ? 1 : 0);
    EXPECT_EQ(response.ids(0) == 1, special);
  }
}

TEST_F(SessionTest, ScoringIsTheSameByTextAndByIds) {
  StartServer();
  v1::ScoreRequest by_text;
  by_text.mutable_prompt()->set_text("The quick brown fox");
  by_text.mutable_continuation()->set_text(" jumps over");
  by_text.mutable_policy()->set_name("full");
  by_text.mutable_budget()->set_ratio(1);
  v1::ScoreResponse first;
  grpc::ClientContext context;
  ASSERT_TRUE(stub().Score(&context, by_text, &first).ok());
  ASSERT_GT(first.continuation_ids_size(), 0);
  EXPECT_EQ(first.logprobs_size(), first.continuation_ids_size());
  EXPECT_EQ(first.argmax_ids_size(), first.continuation_ids_size());
  EXPECT_EQ(first.layers_size(), 3);
  v1::ScoreRequest by_ids = by_text;
  *by_ids.mutable_prompt()->mutable_ids()->mutable_ids() = first.prompt_ids();
  *by_ids.mutable_continuation()->mutable_ids()->mutable_ids() = first.continuation_ids();
  v1::ScoreResponse second;
  grpc::ClientContext again;
  ASSERT_TRUE(stub().Score(&again, by_ids, &second).ok());
  EXPECT_THAT(second.logprobs(), ElementsAreArray(first.logprobs()));
  by_ids.mutable_policy()->set_name("concertina");
  by_ids.mutable_budget()->set_ratio(0.2);
  by_ids.set_fold(v1::SCORE_FOLD_DECODE);
  v1::ScoreResponse folded;
  grpc::ClientContext once_more;
  ASSERT_TRUE(stub().Score(&once_more, by_ids, &folded).ok());
  EXPECT_LT(folded.cache().live_entries(), first.cache().live_entries());
}

}  // namespace
}  // namespace concertina::testing
