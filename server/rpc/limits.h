#pragma once

#include <chrono>
#include <cstdint>

#include "models/image/image.h"

namespace concertina {

// What one client may ask of the server at once. Everything a request can make us allocate has its
// limit here or in the engine's options.
struct RpcLimits {
  int64_t large_message_bytes = 8 << 20;   // OpenSession (history replay), Generate
  int64_t small_message_bytes = 64 << 10;  // every other method
  int64_t upload_chunk_bytes = 60 << 10;
  // Fields and repeated values of one message, at all depths: each becomes an object many times its
  // size on the wire.
  int32_t max_message_items = 65'536;
  int32_t max_message_depth = 16;
  // What the requests in flight hold together: messages while they are parsed, then their text and
  // prepared pictures until the call ends.
  int64_t max_request_bytes = int64_t{256} << 20;
  int32_t max_calls = 1024;  // in flight, all methods; HTTP/2's own limit does not bound handlers
  int32_t max_calls_per_connection = 128;
  int32_t max_uploads = 32;     // in flight; each may hold images.max_bytes
  int32_t max_decoders = 4;     // pictures decoded at the same time
  int32_t max_parts = 256;      // of one message
  int32_t max_messages = 4096;  // of a history
  int32_t max_stops = 16;
  int32_t max_stop_bytes = 256;
  ImageLimits images;
  int64_t image_store_bytes = 256 << 20;
  // A stream whose client takes nothing for this long is cancelled.
  std::chrono::milliseconds stall_timeout{30'000};
};

}  // namespace concertina
