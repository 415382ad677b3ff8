// Quality through the API: what a turn says about its fold, probes, floors, and what is refused.
#include <cmath>
#include <limits>

#include "tests/rpc/server_fixture.h"

namespace concertina::testing {
namespace {

constexpr char kQuestion[] =
    "Tell me the price of the red car in 2024, of the green one in 2023, and of the blue one.";

class QualityTest : public ServerTest {
 protected:
  static v1::OpenSessionRequest OpenWith(const std::string& policy, double ratio, int32_t probe,
                                         double floor) {
    v1::OpenSessionRequest request;
    request.mutable_policy()->set_name(policy);
    request.mutable_policy()->set_probe_tokens(probe);
    request.mutable_policy()->set_min_quality(floor);
    request.mutable_budget()->set_ratio(ratio);
    return request;
  }

  v1::Completed Ask(const std::string& id) {
    const Turn turn = RunTurn(stub(), TextTurn(id, kQuestion, 8));
    EXPECT_TRUE(turn.status.ok()) << turn.status.error_message();
    return turn.events.back().completed();
  }

  std::string FieldRefused(const v1::OpenSessionRequest& request) {
    grpc::ClientContext context;
    v1::OpenSessionResponse response;
    const grpc::Status status = stub().OpenSession(&context, request, &response);
    EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT) << request.ShortDebugString();
    return DetailsOf(status).field;
  }
};

TEST_F(QualityTest, AProbeComesWithTheAnswer) {
  StartServer({}, /*with_metrics=*/true);
  const std::string full = OpenOrDie(stub(), OpenWith("full", 1, 16, 0));
  const v1::Completed whole = Ask(full);
  EXPECT_EQ(whole.quality().probe().tokens(), 16);
  EXPECT_EQ(whole.quality().probe().agreement(), 1);
  EXPECT_EQ(whole.quality().probe().kl_divergence(), 0);
  EXPECT_EQ(whole.quality().lowest_attention_mass_kept(), 1);
  EXPECT_GT(whole.timings().probe().nanos(), 0);
  EXPECT_EQ(SessionOrDie(full).policy().probe_tokens(), 16);

  const v1::Completed folded = Ask(OpenOrDie(stub(), OpenWith("concertina", 0.1, 16, 0)));
  EXPECT_GT(folded.quality().probe().kl_divergence(), 0);
  EXPECT_LT(folded.quality().lowest_attention_mass_kept(), folded.quality().attention_mass_kept());
  EXPECT_LT(folded.quality().attention_mass_kept(), 1);

  EXPECT_EQ(Metric("probe_agreement_ratio_count", "policy=\"full\""), 1);
  EXPECT_EQ(Metric("probe_agreement_ratio_count", "policy=\"concertina\""), 1);
  EXPECT_EQ(Metric("kv_attention_mass_kept_lowest_ratio_count"), 2);
  EXPECT_EQ(Metric("probe_duration_seconds_count"), 2);
}

TEST_F(QualityTest, AFloorRaisesTheBudget) {
  StartServer({}, /*with_metrics=*/true);
  const std::string id = OpenOrDie(stub(), OpenWith("random", 0.1, 64, 1));
  const v1::Completed completed = Ask(id);
  const v1::Quality& quality = completed.quality();
  EXPECT_TRUE(quality.raised_for_quality());
  EXPECT_GT(quality.raises(), 0);
  EXPECT_EQ(quality.probe().agreement(), 1);
  EXPECT_EQ(completed.cache().budget().ratio(), 0.1);
  EXPECT_FALSE(quality.has_attention_mass_kept() && quality.attention_mass_kept() < 1);
  EXPECT_EQ(SessionOrDie(id).policy().min_quality(), 1);
  EXPECT_EQ(Metric("quality_raises_total", "policy=\"random\""), quality.raises());
  EXPECT_EQ(Metric("quality_floor_missed_total"), 0);
}

TEST_F(QualityTest, AFloorNeedsNoNumberOfTokens) {
  StartServer();
  v1::OpenSessionRequest request;
  request.mutable_policy()->set_min_quality(0.5);
  EXPECT_EQ(SessionOrDie(OpenOrDie(stub(), request)).policy().probe_tokens(), 8);
}

TEST_F(QualityTest, TheServerMayProbeWhoAsksForNothing) {
  StartServer([](ServerConfig& config) { config.engine.default_probe_tokens = 4; });
  EXPECT_EQ(Ask(OpenOrDie(stub(), v1::OpenSessionRequest())).quality().probe().tokens(), 4);
  const v1::OpenSessionRequest off = OpenWith("concertina", 0.2, 0, 0);
  EXPECT_FALSE(Ask(OpenOrDie(stub(), off)).quality().has_probe());
}

TEST_F(QualityTest, BadValuesAreRefused) {
  StartServer();
  for (const int32_t tokens : {-1, 65, std::numeric_limits<int32_t>::max()}) {
    EXPECT_EQ(FieldRefused(OpenWith("full", 1, tokens, 0)), "policy.probe_tokens") << tokens;
  }
  for (const double floor : {-0.1, 1.01, std::nan(""), std::numeric_limits<double>::infinity()}) {
    EXPECT_EQ(FieldRefused(OpenWith("full", 1, 8, floor)), "policy.min_quality") << floor;
  }
  EXPECT_EQ(FieldRefused(OpenWith("full", 1, 0, 0.5)), "policy.probe_tokens");
}

TEST_F(QualityTest, AScoreIsNotProbed) {
  StartServer();
  for (const bool floor : {false, true}) {
    v1::ScoreRequest request;
    request.mutable_prompt()->set_text("one two three");
    request.mutable_continuation()->set_text(" four");
    if (floor) {
      request.mutable_policy()->set_min_quality(0.5);
    } else {
      request.mutable_policy()->set_probe_tokens(8);
    }
    grpc::ClientContext context;
    v1::ScoreResponse response;
    const grpc::Status status = stub().Score(&context, request, &response);
    EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
    EXPECT_EQ(DetailsOf(status).field, floor ? "policy.min_quality" : "policy.probe_tokens");
  }
}

}  // namespace
}  // namespace concertina::testing
