#pragma once

#include <cstdint>
#include <string>

#include "server/metrics/registry.h"

namespace concertina {

// Facts about the process that never change, as gauges with value 1.
struct InfoLabels {
  std::string version;
  std::string weight_type;         // "f32", "stored+bf16" for two copies
  std::string chat_family;         // "chatml-smollm"
  std::string default_policy;      // "concertina"
  std::string default_budget;      // "0.2", "256t", "64MiB"
  std::string default_entry_type;  // "f32", "bf16", "int8", "packed"
  int64_t pool_bytes = 0;
};

// Adds build_info and cache_config_info.
void AddInfoMetrics(MetricsRegistry& registry, const InfoLabels& info);

}  // namespace concertina
