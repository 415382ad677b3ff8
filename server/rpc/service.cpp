#include "server/rpc/service.h"

#include "server/rpc/calls/methods.h"
#include "server/rpc/calls/turn_stream.h"
#include "server/rpc/calls/upload_stream.h"

namespace concertina {

Service::Unary* Service::OpenSession(Context* context, const Bytes* request, Bytes* response) {
  return calls::OpenSession(env_, {context, request, response});
}

Service::Unary* Service::Score(Context* context, const Bytes* request, Bytes* response) {
  return calls::Score(env_, {context, request, response});
}

Service::Unary* Service::GetSession(Context* context, const Bytes* request, Bytes* response) {
  return calls::GetSession(env_, {context, request, response});
}

Service::Unary* Service::ListSessions(Context* context, const Bytes* request, Bytes* response) {
  return calls::ListSessions(env_, {context, request, response});
}

Service::Unary* Service::UpdateSession(Context* context, const Bytes* request, Bytes* response) {
  return calls::UpdateSession(env_, {context, request, response});
}

Service::Unary* Service::ForkSession(Context* context, const Bytes* request, Bytes* response) {
  return calls::ForkSession(env_, {context, request, response});
}

Service::Unary* Service::CloseSession(Context* context, const Bytes* request, Bytes* response) {
  return calls::CloseSession(env_, {context, request, response});
}

Service::Unary* Service::Tokenize(Context* context, const Bytes* request, Bytes* response) {
  return calls::Tokenize(env_, {context, request, response});
}

Service::Unary* Service::GetModel(Context* context, const Bytes* request, Bytes* response) {
  return calls::GetModel(env_, {context, request, response});
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* Service::Generate(Context* context,
                                                              const Bytes* request) {
  return TurnStream::Start(env_, context, request);
}

grpc::ServerReadReactor<grpc::ByteBuffer>* Service::UploadImage(Context* context, Bytes* response) {
  return UploadStream::Start(env_, context, response);
}

}  // namespace concertina
