#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "concertina/v1/inference_service.pb.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/calls/call.h"

namespace concertina {

// One UploadImage call: collects the pieces of a file, then checks and stores it. The file is
// refused as soon as it is too large, and the call is cancelled when no piece comes for the stall
// timeout.
class UploadStream final : public grpc::ServerReadReactor<grpc::ByteBuffer>, public Stallable {
 public:
  // What the service method returns.
  static grpc::ServerReadReactor<grpc::ByteBuffer>* Start(RpcEnvironment& env,
                                                          grpc::CallbackServerContext* context,
                                                          grpc::ByteBuffer* response);

  void OnReadDone(bool ok) override;
  void OnDone() override;
  void CheckStall(std::chrono::steady_clock::time_point now) override;

 private:
  UploadStream(RpcEnvironment& env, grpc::CallbackServerContext& context,
               grpc::ByteBuffer& response);

  absl::Status Begin();
  absl::Status Append();
  absl::Status Store();
  void End(const absl::Status& status);
  void Read();

  RpcEnvironment& env_;
  Call call_;
  grpc::CallbackServerContext& context_;
  grpc::ByteBuffer& response_;
  const int32_t uploads_at_arrival_;
  std::shared_ptr<UploadStream> self_;
  grpc::ByteBuffer request_;
  std::string file_;

  std::mutex mutex_;
  bool reading_ = false;
  std::chrono::steady_clock::time_point read_started_;
};

}  // namespace concertina
