#include "tests/rpc/raw_call.h"

#include <vector>

#include "grpcpp/impl/client_unary_call.h"
#include "grpcpp/impl/rpc_method.h"
#include "grpcpp/support/sync_stream.h"

namespace concertina::testing {

grpc::ByteBuffer Bytes(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return {&slice, 1};
}

std::string Text(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string text;
  if (!buffer.Dump(&slices).ok()) return text;
  for (const grpc::Slice& slice : slices) {
    text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return text;
}

grpc::Status CallRaw(const std::shared_ptr<grpc::Channel>& channel, const char* path,
                     const std::string& request, grpc::ClientContext* context,
                     std::string* response) {
  const grpc::internal::RpcMethod method(path, grpc::internal::RpcMethod::NORMAL_RPC);
  grpc::ByteBuffer bytes;
  grpc::Status status = grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
      channel.get(), method, context, Bytes(request), &bytes);
  if (response != nullptr && status.ok()) *response = Text(bytes);
  return status;
}

grpc::Status CallRaw(const std::shared_ptr<grpc::Channel>& channel, const char* path,
                     const std::string& request) {
  grpc::ClientContext context;
  return CallRaw(channel, path, request, &context);
}

int HealthOf(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  std::string request;
  if (!service.empty()) {
    request.append("\x0a").append(1, static_cast<char>(service.size())).append(service);
  }
  std::string response;
  const grpc::Status status =
      CallRaw(channel, "/grpc.health.v1.Health/Check", request, &context, &response);
  return status.ok() && response.size() == 2 && response[0] == '\x08' ? response[1] : 0;
}

std::string ReflectedServices(const std::shared_ptr<grpc::Channel>& channel) {
  const grpc::internal::RpcMethod method(
      "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
      grpc::internal::RpcMethod::BIDI_STREAMING);
  grpc::ClientContext context;
  const std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> stream(
      grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
          channel.get(), method, &context));
  // list_services = "": field 7, length 0.
  stream->Write(Bytes(std::string("\x3a\x00", 2)));
  stream->WritesDone();
  grpc::ByteBuffer response;
  const bool answered = stream->Read(&response);
  return stream->Finish().ok() && answered ? Text(response) : "";
}

}  // namespace concertina::testing
