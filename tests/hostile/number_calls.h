#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "google/protobuf/message.h"
#include "grpcpp/channel.h"
#include "grpcpp/support/status.h"

namespace concertina::testing {

// How to call one method with a request that is in order but for what a test puts into it.
struct NumberCall {
  // An ordinary request. What it needs (a session) is made first.
  std::function<std::unique_ptr<google::protobuf::Message>()> request;
  // Calls for real and reads what comes to its end.
  std::function<grpc::Status(const google::protobuf::Message&)> call;
};

// One for every method of InferenceService and AdminService, by full name
// ("concertina.v1.InferenceService.Generate").
std::map<std::string, NumberCall> NumberCalls(const std::shared_ptr<grpc::Channel>& clients,
                                              const std::shared_ptr<grpc::Channel>& operators);

}  // namespace concertina::testing
