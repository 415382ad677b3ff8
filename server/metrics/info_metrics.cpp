#include "server/metrics/info_metrics.h"

namespace concertina {

void AddInfoMetrics(MetricsRegistry& registry, const InfoLabels& info) {
  registry.Gauge("build_info", "What runs; always 1.")
      .Add({{"version", info.version},
            {"weight_type", info.weight_type},
            {"chat_family", info.chat_family}})
      .Set(1);
  registry.Gauge("cache_config_info", "How new sessions are cached; always 1.")
      .Add({{"policy", info.default_policy},
            {"budget", info.default_budget},
            {"entry_type", info.default_entry_type},
            {"pool_bytes", std::to_string(info.pool_bytes)}})
      .Set(1);
}

}  // namespace concertina
