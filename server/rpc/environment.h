#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "server/engine/engine.h"
#include "server/metrics/rpc_metrics.h"
#include "server/rpc/call_counter.h"
#include "server/rpc/images/image_loader.h"
#include "server/rpc/limits.h"
#include "server/rpc/outbox.h"
#include "server/rpc/stall_monitor.h"

namespace concertina {

// One finished call, for the log: never any content.
struct CallLogEntry {
  std::string_view method;
  std::string_view code;    // "OK", "NOT_FOUND"
  std::string_view reason;  // "SESSION_NOT_FOUND", or the field; empty without one
  std::string_view request_id;
  std::string_view session_id;
  double seconds = 0;
};

// What every call of one server shares. Owned by the server; outlives all calls.
struct CallEnvironment {
  RpcMetrics& metrics;
  const RpcLimits limits;
  const std::function<void(const CallLogEntry&)> log;  // may be empty; thread-safe
  CallCounter calls{};
  std::atomic<int64_t> request_bytes{0};  // of limits.max_request_bytes
};

// What the handlers of InferenceService work with besides.
struct RpcEnvironment : CallEnvironment {
  Engine& engine;
  ImageLoader& images;
  StallMonitor& stalls;
  const std::string model_name;
  std::atomic<int32_t> uploads{0};
  Outbox outbox{};
};

}  // namespace concertina
