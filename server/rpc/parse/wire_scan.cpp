#include "server/rpc/parse/wire_scan.h"

#include "absl/strings/str_cat.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/message.h"
#include "google/protobuf/wire_format_lite.h"
#include "grpcpp/support/proto_buffer_reader.h"
#include "server/engine/errors.h"

namespace concertina {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;

absl::Status Malformed() { return FieldError("request", "is not a well-formed message"); }

class Scanner {
 public:
  Scanner(google::protobuf::io::ZeroCopyInputStream* bytes, const WireLimits& limits)
      : in_(bytes), limits_(limits) {}

  // Up to the end of the stream or of the limit pushed last.
  absl::Status Scan(const Descriptor& type, int32_t depth) {
    if (depth > limits_.depth) {
      return FieldError(
          "request", absl::StrCat("must not be nested deeper than ", limits_.depth, " messages"));
    }
    while (const uint32_t tag = in_.ReadTag()) {
      if (auto status = Count(1); !status.ok()) return status;
      if (auto status = ScanField(type, tag, depth); !status.ok()) return status;
    }
    return in_.ConsumedEntireMessage() ? absl::OkStatus() : Malformed();
  }

 private:
  absl::Status Count(int64_t items) {
    items_ += items;
    if (items_ <= limits_.items) return absl::OkStatus();
    return FieldError("request",
                      absl::StrCat("must not have more than ", limits_.items, " fields"));
  }

  absl::Status ScanField(const Descriptor& type, uint32_t tag, int32_t depth) {
    uint64_t ignored = 0;
    switch (WireFormatLite::GetTagWireType(tag)) {
      case WireFormatLite::WIRETYPE_VARINT:
        return in_.ReadVarint64(&ignored) ? absl::OkStatus() : Malformed();
      case WireFormatLite::WIRETYPE_FIXED64:
        return in_.Skip(8) ? absl::OkStatus() : Malformed();
      case WireFormatLite::WIRETYPE_FIXED32:
        return in_.Skip(4) ? absl::OkStatus() : Malformed();
      case WireFormatLite::WIRETYPE_LENGTH_DELIMITED:
        return ScanBytes(type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag)), depth);
      default:
        return Malformed();
    }
  }

  // `field`: null if unknown.
  absl::Status ScanBytes(const FieldDescriptor* field, int32_t depth) {
    int length = 0;
    if (!in_.ReadVarintSizeAsInt(&length)) return Malformed();
    if (field == nullptr || field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      if (field != nullptr && field->is_packable()) {
        // A packed value takes at least one byte.
        if (auto status = Count(length); !status.ok()) return status;
      }
      return in_.Skip(length) ? absl::OkStatus() : Malformed();
    }
    const auto outer = in_.PushLimit(length);
    if (auto status = Scan(*field->message_type(), depth + 1); !status.ok()) return status;
    if (in_.BytesUntilLimit() != 0) return Malformed();  // the stream ended first
    in_.PopLimit(outer);
    return absl::OkStatus();
  }

  google::protobuf::io::CodedInputStream in_;
  const WireLimits limits_;
  int64_t items_ = 0;
};

}  // namespace

absl::Status ScanWire(const grpc::ByteBuffer& bytes, const Descriptor& type,
                      const WireLimits& limits) {
  grpc::ByteBuffer shared = bytes;
  grpc::ProtoBufferReader reader(&shared);
  if (!reader.status().ok()) return Malformed();
  return Scanner(&reader, limits).Scan(type, 1);
}

absl::Status ParseMessage(const grpc::ByteBuffer& bytes, const WireLimits& limits,
                          google::protobuf::Message* message) {
  if (auto s = ScanWire(bytes, *message->GetDescriptor(), limits); !s.ok()) return s;
  grpc::ByteBuffer shared = bytes;
  grpc::ProtoBufferReader reader(&shared);
  if (!reader.status().ok() || !message->ParseFromZeroCopyStream(&reader)) return Malformed();
  return absl::OkStatus();
}

}  // namespace concertina
