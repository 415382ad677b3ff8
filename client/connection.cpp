#include "client/connection.h"

#include "grpcpp/create_channel.h"

namespace concertina::client {
namespace {

bool IsLoopback(const std::string& target) {
  return target.starts_with("127.") || target.starts_with("localhost") ||
         target.starts_with("[::1]");
}

}  // namespace

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& target, const RetryOptions& retry) {
  grpc::ChannelArguments arguments;
  // A connection of our own: others' failures must not make us wait.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
  if (IsLoopback(target)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  const std::string config = RetryServiceConfig(retry);
  if (!config.empty()) arguments.SetServiceConfigJSON(config);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace concertina::client
