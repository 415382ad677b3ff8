// What a client may send and have in flight, on the wire.

#include <future>

#include "grpcpp/create_channel.h"
#include "server/metrics/process_metrics.h"
#include "tests/rpc/raw_call.h"
#include "tests/rpc/server_fixture.h"

namespace concertina::testing {
namespace {

using grpc::StatusCode;

constexpr char kOpen[] = "/concertina.v1.InferenceService/OpenSession";
constexpr char kTokenize[] = "/concertina.v1.InferenceService/Tokenize";
constexpr char kGenerate[] = "/concertina.v1.InferenceService/Generate";

class LimitsTest : public ServerTest {
 protected:
  void ExpectBadRequest(const grpc::Status& status) {
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << status.error_message();
    EXPECT_EQ(DetailsOf(status).field, "request");
  }
  void ExpectUsable() {
    const Turn turn = RunTurn(stub(), TextTurn(OpenOrDie(stub()), "Still here?", 2));
    EXPECT_TRUE(turn.status.ok()) << turn.status.error_message();
  }
};

TEST_F(LimitsTest, BrokenMessagesNameTheRequest) {
  StartServer();
  for (const char* path : {kOpen, kTokenize, kGenerate}) {
    ExpectBadRequest(CallRaw(server().channel(), path, "\x0a\x7f"));
    ExpectBadRequest(CallRaw(server().channel(), path, std::string(1000, '\x7b')));
  }
  EXPECT_EQ(Metric("requests_rejected_total", R"(reason="INVALID")"), 6);
  ExpectUsable();
}

TEST_F(LimitsTest, DeepMessagesAreRefused) {
  StartServer();
  // A thousand messages inside each other, all of the history's first field.
  std::string nested;
  for (int depth = 0; depth < 1000; ++depth) {
    std::string length;
    for (size_t rest = nested.size();; rest >>= 7) {
      length += static_cast<char>((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
      if (rest <= 0x7f) break;
    }
    nested = (depth % 2 == 0 ? "\x12" : "\x2a") + length + nested;
  }
  const grpc::Status status = CallRaw(server().channel(), kOpen, nested);
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << status.error_message();
  ExpectUsable();
}

// Four million bytes of empty messages would become a hundred million of objects.
TEST_F(LimitsTest, EmptyMessagesDoNotInflate) {
  StartServer();
  std::string empties;
  for (int i = 0; i < 2 << 20; ++i) empties.append("\x2a\x00", 2);
  ExpectUsable();
  const double before = ProcessResidentBytes();
  std::vector<std::future<grpc::Status>> calls;
  for (int i = 0; i < 16; ++i) {
    calls.push_back(std::async(std::launch::async,
                               [&] { return CallRaw(server().channel(), kOpen, empties); }));
  }
  for (auto& call : calls) ExpectBadRequest(call.get());
  const double grown = ProcessPeakResidentBytes() - before;
  // Sender and receiver are one process here: both have their 64 MiB of it.
  RecordProperty("grown_mib", static_cast<int>(grown / (1 << 20)));
  std::printf("16 x 4 MiB of empty messages: resident memory +%.0f MiB\n", grown / (1 << 20));
  EXPECT_LT(grown, 256 << 20);
  ExpectUsable();
}

TEST_F(LimitsTest, MessagesBeyondEverythingAreGrpcsToRefuse) {
  StartServer();
  const grpc::Status status =
      RunTurn(stub(), TextTurn(OpenOrDie(stub()), std::string(10 << 20, 'a'), 1)).status;
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  ExpectUsable();
}

// A few kilobytes could become gigabytes before anybody sees them.
TEST_F(LimitsTest, CompressedMessagesAreNotTaken) {
  StartServer();
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  v1::TokenizeRequest request;
  request.set_text(std::string(10'000, 'a'));
  v1::TokenizeResponse response;
  EXPECT_EQ(stub().Tokenize(&context, request, &response).error_code(), StatusCode::UNIMPLEMENTED);
  ExpectUsable();
}

TEST_F(LimitsTest, UploadedPiecesAreBounded) {
  StartServer();
  for (const auto& [bytes, field] :
       {std::pair{(60 << 10) + 1, "chunk"}, std::pair{(64 << 10) + 1, "request"}}) {
    grpc::ClientContext context;
    v1::UploadImageResponse response;
    const auto writer = stub().UploadImage(&context, &response);
    v1::UploadImageRequest piece;
    piece.set_chunk(std::string(static_cast<size_t>(bytes), 'x'));
    writer->Write(piece);
    writer->WritesDone();
    const grpc::Status status = writer->Finish();
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(DetailsOf(status).field, field);
  }
}

TEST_F(LimitsTest, OneConnectionHasItsShareOfCalls) {
  StartServer([](ServerConfig& config) { config.limits.max_calls_per_connection = 1; });
  const std::string id = OpenOrDie(stub());
  grpc::ClientContext context;
  const auto reader = stub().Generate(&context, LongTurn(id));
  v1::GenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  grpc::ClientContext second;
  v1::GetModelResponse model;
  const grpc::Status refused = stub().GetModel(&second, {}, &model);
  EXPECT_EQ(refused.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(DetailsOf(refused).reason, "CONNECTION_LIMIT");
  EXPECT_EQ(DetailsOf(refused).quota_subject, "CONNECTION_LIMIT");
  EXPECT_TRUE(DetailsOf(refused).retry_ms.has_value());
  // Another connection is not concerned.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto other = v1::InferenceService::NewStub(grpc::CreateCustomChannel(
      server().runtime().address(), grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext third;
  EXPECT_TRUE(other->GetModel(&third, {}, &model).ok());
  context.TryCancel();
  while (reader->Read(&event)) {
  }
  reader->Finish();
}

TEST_F(LimitsTest, RequestsInFlightHoldABoundedAmountOfMemory) {
  StartServer([](ServerConfig& config) { config.limits.max_request_bytes = 2 << 20; });
  v1::GenerateRequest large;
  large.set_session_id(OpenOrDie(stub()));
  large.add_parts()->set_text(std::string(1'500'000, 'x'));
  const auto ask = [&] {
    grpc::ClientContext context;
    const auto reader = stub().Generate(&context, large);
    v1::GenerateResponse event;
    EXPECT_FALSE(reader->Read(&event));
    return reader->Finish();
  };
  for (int i = 0; i < 3; ++i) {  // what was refused is not held any more
    grpc::Status refused;
    // gRPC, too, refuses, without a reason, while it has not yet let go of the message before.
    EXPECT_TRUE(Eventually([&] {
      refused = ask();
      return !DetailsOf(refused).reason.empty();
    }));
    EXPECT_EQ(refused.error_code(), StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_EQ(DetailsOf(refused).reason, "OUT_OF_MEMORY");
    EXPECT_TRUE(DetailsOf(refused).retry_ms.has_value());
  }
  large.mutable_parts(0)->set_text(std::string(500'000, 'x'));
  EXPECT_TRUE(Eventually([&] { return DetailsOf(ask()).reason == "PROMPT_TOO_LONG"; }))
      << "this much may be held";
  ExpectUsable();
}

}  // namespace
}  // namespace concertina::testing
