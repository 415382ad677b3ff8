// Every numeric field of every request takes its extreme values: refused by name, or a documented
// outcome. A new field without a row fails the test.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

#include "concertina/v1/admin_service.grpc.pb.h"
#include "grpcpp/create_channel.h"
#include "tests/hostile/number_calls.h"
#include "tests/hostile/number_fields.h"
#include "tests/support/server/in_process_server.h"

namespace concertina::testing {
namespace {

using grpc::StatusCode;

// What values of a field give; those that are not listed are INVALID_ARGUMENT with this field.
using Outcomes = std::map<std::string, StatusCode>;
using Rows = std::map<std::string, Outcomes>;

// Zero stands for the default.
const Outcomes kDefaultAtZero = {{"0", StatusCode::OK}};
// A limit that is never reached.
const Outcomes kAnyMaximum = {{"max", StatusCode::OK}};

Rows OfCacheOptions() {
  return {{"policy.merge", kDefaultAtZero},        {"policy.on_context_end", kDefaultAtZero},
          {"policy.entry_type", kDefaultAtZero},   {"policy.turn_fold", kDefaultAtZero},
          {"policy.image_budget", kDefaultAtZero}, {"policy.probe_tokens", kDefaultAtZero},
          {"policy.min_quality", kDefaultAtZero},  {"budget.ratio", {}},
          {"budget.tokens", kAnyMaximum},          {"budget.bytes", kAnyMaximum}};
}

Rows OfSampling() {
  return {{"sampling.temperature", kDefaultAtZero},
          {"sampling.top_p", kDefaultAtZero},
          {"sampling.top_k", {{"0", StatusCode::OK}, {"max", StatusCode::OK}}},
          {"sampling.min_p", kDefaultAtZero},
          {"sampling.repetition_penalty", kDefaultAtZero},
          {"sampling.seed", {{"0", StatusCode::OK}, {"max", StatusCode::OK}}}};
}

std::map<std::string, Rows> AllRows() {
  std::map<std::string, Rows> rows;
  Rows& open = rows["concertina.v1.InferenceService.OpenSession"] = OfCacheOptions();
  open["history[0].role"] = {};
  Rows& generate = rows["concertina.v1.InferenceService.Generate"] = OfSampling();
  generate["max_tokens"] = kDefaultAtZero;
  // Turns the session does not have.
  generate["expected_turn"] = {{"0", StatusCode::OK}, {"max", StatusCode::ABORTED}};
  Rows& score = rows["concertina.v1.InferenceService.Score"] = OfCacheOptions();
  score["prompt.ids.ids[0]"] = kDefaultAtZero;  // an id like any other
  score["continuation.ids.ids[0]"] = kDefaultAtZero;
  score["turns[0].ids.ids[0]"] = kDefaultAtZero;
  score["choices[0]"] = kDefaultAtZero;
  score["fold"] = kDefaultAtZero;
  rows["concertina.v1.InferenceService.ListSessions"]["page_size"] = kDefaultAtZero;
  Rows& update = rows["concertina.v1.InferenceService.UpdateSession"];
  update = {{"budget.ratio", {}}, {"budget.tokens", kAnyMaximum}, {"budget.bytes", kAnyMaximum}};
  update["truncate_turn"] = kDefaultAtZero;  // back to the beginning
  Rows& drain = rows["concertina.v1.AdminService.Drain"];
  drain["timeout.seconds"] = kDefaultAtZero;
  drain["timeout.nanos"] = kDefaultAtZero;
  return rows;
}

class Numbers : public ::testing::Test {
 protected:
  Numbers() : log_(LogFormat::kText, "error") {
    ServerConfig config = TinyLlavaConfig();
    config.listen = "127.0.0.1:0";
    config.metrics_listen = "";
    config.admin_listen = "127.0.0.1:0";
    auto runtime = Runtime::Start(config, log_);
    EXPECT_TRUE(runtime.ok()) << runtime.status();
    if (!runtime.ok()) return;
    runtime_ = *std::move(runtime);
    calls_ = NumberCalls(Channel(runtime_->address()), Channel(runtime_->admin_address()));
  }

  static std::shared_ptr<grpc::Channel> Channel(const std::string& address) {
    return grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  }

  // One value in one field.
  void Try(const NumberCall& call, const NumberField& field, const std::string& value,
           const Outcomes& outcomes) {
    SCOPED_TRACE(field.Name() + " = " + value);
    const auto request = call.request();
    SetNumber(field, value, request.get());
    const grpc::Status status = call.call(*request);
    ++tried_;
    const auto outcome = outcomes.find(value);
    const StatusCode expected =
        outcome == outcomes.end() ? StatusCode::INVALID_ARGUMENT : outcome->second;
    EXPECT_EQ(status.error_code(), expected) << status.error_message();
    if (status.error_code() != StatusCode::INVALID_ARGUMENT) return;
    ++refused_;
    EXPECT_EQ(DetailsOf(status).field, field.ReportedName());
    EXPECT_FALSE(status.error_message().empty());
  }

  Log log_;
  std::unique_ptr<Runtime> runtime_;
  std::map<std::string, NumberCall> calls_;
  int tried_ = 0;
  int refused_ = 0;
};

std::vector<const google::protobuf::MethodDescriptor*> AllMethods() {
  std::vector<const google::protobuf::MethodDescriptor*> methods;
  for (const auto* request :
       {v1::OpenSessionRequest::descriptor(), v1::DrainRequest::descriptor()}) {
    const google::protobuf::FileDescriptor* file = request->file();
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        methods.push_back(file->service(s)->method(m));
      }
    }
  }
  // A drained server does nothing else any more.
  std::stable_partition(methods.begin(), methods.end(),
                        [](const auto* method) { return method->name() != "Drain"; });
  return methods;
}

TEST_F(Numbers, AreRefusedByNameOrHaveADocumentedOutcome) {
  const std::map<std::string, Rows> rows = AllRows();
  std::set<std::string> used;
  int fields = 0;
  const auto methods = AllMethods();
  ASSERT_EQ(methods.size(), calls_.size());
  for (const auto* method : methods) {
    SCOPED_TRACE(method->full_name());
    ASSERT_EQ(calls_.count(method->full_name()), 1u) << "a method without a call";
    const NumberCall& call = calls_.at(method->full_name());
    if (method->name() != "Drain") {
      const grpc::Status ordinary = call.call(*call.request());
      ASSERT_TRUE(ordinary.ok()) << ordinary.error_message();
    }
    for (const NumberField& field : NumberFields(*method->input_type())) {
      const auto found = rows.find(method->full_name());
      ASSERT_TRUE(found != rows.end() && found->second.count(field.Name()) == 1)
          << field.Name() << " has no row";
      used.insert(method->full_name() + field.Name());
      ++fields;
      for (const std::string& value : ExtremeValues(field)) {
        Try(call, field, value, found->second.at(field.Name()));
      }
    }
  }
  size_t known = 0;
  for (const auto& [method, of_method] : rows) known += of_method.size();
  EXPECT_EQ(used.size(), known) << "a row without a field";
  std::printf("%d fields, %d values: %d refused by name, %d with a documented outcome\n", fields,
              tried_, refused_, tried_ - refused_);
}

}  // namespace
}  // namespace concertina::testing
