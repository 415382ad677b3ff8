#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "server/engine/engine.h"
#include "server/metrics/rpc_metrics.h"
#include "server/rpc/images/image_loader.h"
#include "server/rpc/limits.h"
#include "server/rpc/stall_monitor.h"

namespace concertina {

// One finished call, for the log: never any content.
struct CallLogEntry {
  std::string_view method;
  std::string_view code;    // "OK", "NOT_FOUND"
  std::string_view reason;  // "SESSION_NOT_FOUND"; empty without one
  std::string_view request_id;
  std::string_view session_id;
  double seconds = 0;
};

// What every call handler works with. Owned by the RpcServer; outlives all calls.
struct RpcEnvironment {
  Engine& engine;
  ImageLoader& images;
  RpcMetrics& metrics;
  StallMonitor& stalls;
  const RpcLimits limits;
  const std::string model_name;
  const std::function<void(const CallLogEntry&)> log;  // may be empty; thread-safe
  std::atomic<int32_t> calls{0};
  std::atomic<int32_t> uploads{0};
};

}  // namespace concertina
