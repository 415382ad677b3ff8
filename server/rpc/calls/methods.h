#pragma once

#include "concertina/v1/inference_service.pb.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/environment.h"

namespace concertina::calls {

// The unary methods of InferenceService; see its .proto for their contracts. Requests and responses
// stay valid until the call is finished.
using Context = grpc::CallbackServerContext;
using Reactor = grpc::ServerUnaryReactor;

Reactor* OpenSession(RpcEnvironment& env, Context* context, const v1::OpenSessionRequest* request,
                     v1::OpenSessionResponse* response);
Reactor* GetSession(RpcEnvironment& env, Context* context, const v1::GetSessionRequest* request,
                    v1::GetSessionResponse* response);
Reactor* ListSessions(RpcEnvironment& env, Context* context, const v1::ListSessionsRequest* request,
                      v1::ListSessionsResponse* response);
Reactor* UpdateSession(RpcEnvironment& env, Context* context,
                       const v1::UpdateSessionRequest* request,
                       v1::UpdateSessionResponse* response);
Reactor* CloseSession(RpcEnvironment& env, Context* context, const v1::CloseSessionRequest* request,
                      v1::CloseSessionResponse* response);
Reactor* Score(RpcEnvironment& env, Context* context, const v1::ScoreRequest* request,
               v1::ScoreResponse* response);
Reactor* Tokenize(RpcEnvironment& env, Context* context, const v1::TokenizeRequest* request,
                  v1::TokenizeResponse* response);
Reactor* GetModel(RpcEnvironment& env, Context* context, const v1::GetModelRequest* request,
                  v1::GetModelResponse* response);

}  // namespace concertina::calls
