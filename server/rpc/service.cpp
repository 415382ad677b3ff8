#include "server/rpc/service.h"

#include "server/rpc/calls/methods.h"
#include "server/rpc/calls/turn_stream.h"
#include "server/rpc/calls/upload_stream.h"

namespace concertina {

grpc::ServerUnaryReactor* Service::OpenSession(grpc::CallbackServerContext* context,
                                               const v1::OpenSessionRequest* request,
                                               v1::OpenSessionResponse* response) {
  return calls::OpenSession(env_, context, request, response);
}

grpc::ServerUnaryReactor* Service::Score(grpc::CallbackServerContext* context,
                                         const v1::ScoreRequest* request,
                                         v1::ScoreResponse* response) {
  return calls::Score(env_, context, request, response);
}

grpc::ServerUnaryReactor* Service::GetSession(grpc::CallbackServerContext* context,
                                              const v1::GetSessionRequest* request,
                                              v1::GetSessionResponse* response) {
  return calls::GetSession(env_, context, request, response);
}

grpc::ServerUnaryReactor* Service::ListSessions(grpc::CallbackServerContext* context,
                                                const v1::ListSessionsRequest* request,
                                                v1::ListSessionsResponse* response) {
  return calls::ListSessions(env_, context, request, response);
}

grpc::ServerUnaryReactor* Service::UpdateSession(grpc::CallbackServerContext* context,
                                                 const v1::UpdateSessionRequest* request,
                                                 v1::UpdateSessionResponse* response) {
  return calls::UpdateSession(env_, context, request, response);
}

grpc::ServerUnaryReactor* Service::CloseSession(grpc::CallbackServerContext* context,
                                                const v1::CloseSessionRequest* request,
                                                v1::CloseSessionResponse* response) {
  return calls::CloseSession(env_, context, request, response);
}

grpc::ServerUnaryReactor* Service::Tokenize(grpc::CallbackServerContext* context,
                                            const v1::TokenizeRequest* request,
                                            v1::TokenizeResponse* response) {
  return calls::Tokenize(env_, context, request, response);
}

grpc::ServerUnaryReactor* Service::GetModel(grpc::CallbackServerContext* context,
                                            const v1::GetModelRequest* request,
                                            v1::GetModelResponse* response) {
  return calls::GetModel(env_, context, request, response);
}

grpc::ServerWriteReactor<v1::GenerateResponse>* Service::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  return TurnStream::Start(env_, context, request);
}

grpc::ServerReadReactor<v1::UploadImageRequest>* Service::UploadImage(
    grpc::CallbackServerContext* context, v1::UploadImageResponse* response) {
  return UploadStream::Start(env_, context, response);
}

}  // namespace concertina
