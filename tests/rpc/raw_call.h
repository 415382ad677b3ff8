#pragma once

#include <memory>
#include <string>

#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/status.h"

namespace concertina::testing {

// Calls with bytes of the test's own making: for messages no generated class would send, and for
// services of which Debian ships no .proto.

grpc::ByteBuffer Bytes(const std::string& bytes);
std::string Text(const grpc::ByteBuffer& buffer);

// A unary call of "/package.Service/Method". `response` may be null.
grpc::Status CallRaw(const std::shared_ptr<grpc::Channel>& channel, const char* path,
                     const std::string& request, grpc::ClientContext* context,
                     std::string* response = nullptr);
grpc::Status CallRaw(const std::shared_ptr<grpc::Channel>& channel, const char* path,
                     const std::string& request);

// HealthCheckResponse.status: 1 SERVING, 2 NOT_SERVING; 0 for an error.
int HealthOf(const std::shared_ptr<grpc::Channel>& channel, const std::string& service);

// The answer to reflection's list_services, as it lies on the wire; empty for an error.
std::string ReflectedServices(const std::shared_ptr<grpc::Channel>& channel);

}  // namespace concertina::testing
