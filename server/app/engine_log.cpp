#include "server/app/engine_log.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace concertina {
namespace {

constexpr std::chrono::seconds kInterval{1};

}  // namespace

EngineLog::EngineLog(MetricsRegistry& registry, std::span<const std::string_view> policies,
                     Log& log, std::shared_ptr<const Clock> clock)
    : EngineMetrics(registry, policies), log_(log), clock_(std::move(clock)) {}

void EngineLog::OnGauges(const EngineGauges& gauges) {
  EngineMetrics::OnGauges(gauges);
  if (gauges.draining && !std::exchange(draining_, true)) {
    log_.Info(absl::StrCat("draining: ", gauges.requests_running, " turns running"));
  }
  const bool idle = gauges.requests_running + gauges.requests_waiting == 0;
  if (draining_ && idle && !std::exchange(drained_, true)) log_.Info("drained: no turn is running");
  if (clock_->Now() - written_ >= kInterval) WriteSums();
}

void EngineLog::OnSessionClosed(std::string_view reason) {
  EngineMetrics::OnSessionClosed(reason);
  if (reason == "expired") ++expired_;
}

void EngineLog::OnEvicted(std::string_view reason, int64_t freed_bytes) {
  EngineMetrics::OnEvicted(reason, freed_bytes);
  Evictions& sum = evictions_[std::string(reason)];
  ++sum.count;
  sum.bytes += freed_bytes;
}

void EngineLog::OnRebuild() {
  EngineMetrics::OnRebuild();
  ++rebuilds_;
}

void EngineLog::WriteSums() {
  if (evictions_.empty() && expired_ == 0 && rebuilds_ == 0) return;
  written_ = clock_->Now();
  for (const auto& [reason, sum] : std::exchange(evictions_, {})) {
    log_.Info(absl::StrCat("gave up idle caches: count=", sum.count, " freed_bytes=", sum.bytes,
                           " reason=", reason));
  }
  if (const int64_t count = std::exchange(expired_, 0); count > 0) {
    log_.Info(absl::StrCat("closed idle sessions: count=", count));
  }
  if (const int64_t count = std::exchange(rebuilds_, 0); count > 0) {
    log_.Debug(absl::StrCat("computed caches again: count=", count));
  }
}

}  // namespace concertina
