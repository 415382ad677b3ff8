#include "tests/hostile/number_calls.h"

#include <utility>

#include "concertina/v1/admin_service.grpc.pb.h"
#include "concertina/v1/inference_service.grpc.pb.h"
#include "grpcpp/client_context.h"
#include "tests/support/server/in_process_server.h"

namespace concertina::testing {
namespace {

using Message = google::protobuf::Message;
using Service = v1::InferenceService;
using Admin = v1::AdminService;

// A unary method of a generated stub.
template <typename Stub, typename Request, typename Response>
NumberCall Unary(std::shared_ptr<Stub> stub, std::function<Request()> make,
                 grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*)) {
  NumberCall call;
  call.request = [make] { return std::make_unique<Request>(make()); };
  call.call = [stub, method](const Message& message) {
    grpc::ClientContext context;
    Response response;
    return ((*stub).*method)(&context, dynamic_cast<const Request&>(message), &response);
  };
  return call;
}

template <typename Request>
std::function<Request()> Empty() {
  return [] { return Request(); };
}

v1::OpenSessionRequest Open() {
  v1::OpenSessionRequest request;
  request.mutable_policy()->set_name("elastic");
  request.mutable_budget()->set_ratio(0.5);
  auto* said = request.add_history();
  said->set_role(v1::ROLE_USER);
  said->add_parts()->set_text("hello");
  said = request.add_history();
  said->set_role(v1::ROLE_ASSISTANT);
  said->add_parts()->set_text("hello");
  return request;
}

v1::GenerateRequest Generate(Service::Stub& stub) {
  v1::GenerateRequest request = TextTurn(OpenOrDie(stub), "hello", 2);
  request.set_ignore_eos(true);
  return request;
}

v1::ScoreRequest Score() {
  v1::ScoreRequest request;
  request.mutable_prompt()->mutable_ids()->add_ids(5);
  request.mutable_continuation()->mutable_ids()->add_ids(6);
  request.mutable_policy()->set_name("elastic");
  request.mutable_budget()->set_ratio(0.5);
  return request;
}

v1::UpdateSessionRequest Update(Service::Stub& stub) {
  v1::UpdateSessionRequest request;
  request.set_session_id(OpenOrDie(stub));
  request.mutable_budget()->set_ratio(0.5);
  request.mutable_update_mask()->add_paths("budget");
  request.mutable_update_mask()->add_paths("truncate_turn");
  return request;
}

template <typename Request>
std::function<Request()> WithSession(const std::shared_ptr<Service::Stub>& stub) {
  return [stub] {
    Request request;
    request.set_session_id(OpenOrDie(*stub));
    return request;
  };
}

NumberCall GenerateCall(const std::shared_ptr<Service::Stub>& stub) {
  NumberCall call;
  call.request = [stub] { return std::make_unique<v1::GenerateRequest>(Generate(*stub)); };
  call.call = [stub](const Message& message) {
    return RunTurn(*stub, dynamic_cast<const v1::GenerateRequest&>(message)).status;
  };
  return call;
}

NumberCall UploadCall(const std::shared_ptr<Service::Stub>& stub) {
  NumberCall call;
  call.request = [] {
    auto request = std::make_unique<v1::UploadImageRequest>();
    request->set_chunk(ReadFileOrDie(CONCERTINA_SOURCE_DIR "/tests/models/image/data/rgb.png"));
    return request;
  };
  call.call = [stub](const Message& message) {
    grpc::ClientContext context;
    v1::UploadImageResponse response;
    const auto writer = stub->UploadImage(&context, &response);
    writer->Write(dynamic_cast<const v1::UploadImageRequest&>(message));
    writer->WritesDone();
    return writer->Finish();
  };
  return call;
}

void AddInference(const std::shared_ptr<grpc::Channel>& channel,
                  std::map<std::string, NumberCall>& calls) {
  const std::shared_ptr<Service::Stub> stub = Service::NewStub(channel);
  using Stub = Service::Stub;
  const auto add = [&](const char* method, NumberCall call) {
    calls.emplace(std::string("concertina.v1.InferenceService.") + method, std::move(call));
  };
  add("OpenSession", Unary<Stub, v1::OpenSessionRequest>(stub, Open, &Stub::OpenSession));
  add("Generate", GenerateCall(stub));
  add("Score", Unary<Stub, v1::ScoreRequest>(stub, Score, &Stub::Score));
  add("UploadImage", UploadCall(stub));
  add("GetSession", Unary(stub, WithSession<v1::GetSessionRequest>(stub), &Stub::GetSession));
  add("ListSessions", Unary(stub, Empty<v1::ListSessionsRequest>(), &Stub::ListSessions));
  add("UpdateSession", Unary<Stub, v1::UpdateSessionRequest>(
                           stub, [stub] { return Update(*stub); }, &Stub::UpdateSession));
  add("ForkSession", Unary(stub, WithSession<v1::ForkSessionRequest>(stub), &Stub::ForkSession));
  add("CloseSession", Unary(stub, WithSession<v1::CloseSessionRequest>(stub), &Stub::CloseSession));
  const std::function<v1::TokenizeRequest()> tokenize = [] {
    v1::TokenizeRequest request;
    request.set_text("hello");
    return request;
  };
  add("Tokenize", Unary(stub, tokenize, &Stub::Tokenize));
  add("GetModel", Unary(stub, Empty<v1::GetModelRequest>(), &Stub::GetModel));
}

}  // namespace

std::map<std::string, NumberCall> NumberCalls(const std::shared_ptr<grpc::Channel>& clients,
                                              const std::shared_ptr<grpc::Channel>& operators) {
  std::map<std::string, NumberCall> calls;
  AddInference(clients, calls);
  using Stub = Admin::Stub;
  const std::shared_ptr<Service::Stub> service = Service::NewStub(clients);
  const std::shared_ptr<Stub> stub = Admin::NewStub(operators);
  const std::function<v1::DrainRequest()> drain = [] {
    v1::DrainRequest request;
    request.mutable_timeout();
    return request;
  };
  const std::string prefix = "concertina.v1.AdminService.";
  calls.emplace(prefix + "GetLoad", Unary(stub, Empty<v1::GetLoadRequest>(), &Stub::GetLoad));
  calls.emplace(prefix + "Drain", Unary(stub, drain, &Stub::Drain));
  calls.emplace(prefix + "EvictSession",
                Unary(stub, WithSession<v1::EvictSessionRequest>(service), &Stub::EvictSession));
  return calls;
}

}  // namespace concertina::testing
