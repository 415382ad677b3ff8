#pragma once

#include "concertina/v1/inference_service.grpc.pb.h"
#include "server/rpc/environment.h"

namespace concertina {

// InferenceService with every method taking bytes: what a message may cost is checked before it is
// parsed.
using RawInferenceService = v1::InferenceService::WithRawCallbackMethod_OpenSession<
    v1::InferenceService::WithRawCallbackMethod_Generate<
        v1::InferenceService::WithRawCallbackMethod_Score<
            v1::InferenceService::WithRawCallbackMethod_UploadImage<
                v1::InferenceService::WithRawCallbackMethod_GetSession<
                    v1::InferenceService::WithRawCallbackMethod_ListSessions<
                        v1::InferenceService::WithRawCallbackMethod_UpdateSession<
                            v1::InferenceService::WithRawCallbackMethod_ForkSession<
                                v1::InferenceService::WithRawCallbackMethod_CloseSession<
                                    v1::InferenceService::WithRawCallbackMethod_Tokenize<
                                        v1::InferenceService::WithRawCallbackMethod_GetModel<
                                            v1::InferenceService::Service>>>>>>>>>>>;

// concertina.v1.InferenceService: hands every method to its file in calls/.
class Service final : public RawInferenceService {
 public:
  explicit Service(RpcEnvironment& env) : env_(env) {}

  using Context = grpc::CallbackServerContext;
  using Bytes = grpc::ByteBuffer;
  using Unary = grpc::ServerUnaryReactor;

  grpc::ServerWriteReactor<Bytes>* Generate(Context* context, const Bytes* request) override;
  grpc::ServerReadReactor<Bytes>* UploadImage(Context* context, Bytes* response) override;
  Unary* OpenSession(Context* context, const Bytes* request, Bytes* response) override;
  Unary* Score(Context* context, const Bytes* request, Bytes* response) override;
  Unary* GetSession(Context* context, const Bytes* request, Bytes* response) override;
  Unary* ListSessions(Context* context, const Bytes* request, Bytes* response) override;
  Unary* UpdateSession(Context* context, const Bytes* request, Bytes* response) override;
  Unary* ForkSession(Context* context, const Bytes* request, Bytes* response) override;
  Unary* CloseSession(Context* context, const Bytes* request, Bytes* response) override;
  Unary* Tokenize(Context* context, const Bytes* request, Bytes* response) override;
  Unary* GetModel(Context* context, const Bytes* request, Bytes* response) override;

 private:
  RpcEnvironment& env_;
};

}  // namespace concertina
