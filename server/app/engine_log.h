#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "server/app/log.h"
#include "server/engine/clock.h"
#include "server/metrics/engine_metrics.h"

namespace concertina {

// The engine's metrics, and beside them what an operator wants to read of its doings: caches given
// up, sessions expired, caches computed again, draining. Events of one kind are summed up to at
// most one line a second, however many there are.
class EngineLog final : public EngineMetrics {
 public:
  // `registry` and `log` must outlive this object.
  EngineLog(MetricsRegistry& registry, std::span<const std::string_view> policies, Log& log,
            std::shared_ptr<const Clock> clock);

  void OnGauges(const EngineGauges& gauges) override;
  void OnSessionClosed(std::string_view reason) override;
  void OnEvicted(std::string_view reason, int64_t freed_bytes) override;
  void OnRebuild() override;

 private:
  void WriteSums();

  struct Evictions {
    int64_t count = 0;
    int64_t bytes = 0;
  };

  Log& log_;
  const std::shared_ptr<const Clock> clock_;
  std::chrono::steady_clock::time_point written_{};
  std::map<std::string, Evictions, std::less<>> evictions_;  // by reason
  int64_t expired_ = 0;
  int64_t rebuilds_ = 0;
  bool draining_ = false;
  bool drained_ = false;
};

}  // namespace concertina
