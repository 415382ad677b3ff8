#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "google/protobuf/descriptor.h"
#include "grpcpp/support/byte_buffer.h"

namespace concertina {

struct WireLimits {
  int32_t items;  // fields and packed values, at all depths
  int32_t depth;  // messages inside messages
};

// Reads a message of type `type` as it lies on the wire (protobuf.dev/programming-guides/encoding)
// without making any object of it, to know beforehand what parsing would allocate: a field of two
// bytes may become an object of a hundred. INVALID_ARGUMENT about the field "request" beyond
// `limits`, and for what is no message: broken lengths, groups (which our messages do not have).
// Unknown fields pass and count. Pure function.
absl::Status ScanWire(const grpc::ByteBuffer& bytes, const google::protobuf::Descriptor& type,
                      const WireLimits& limits);

// ScanWire, then the parser. The same errors.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, const WireLimits& limits,
                          google::protobuf::Message* message);

}  // namespace concertina
