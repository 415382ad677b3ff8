#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "server/engine/observer.h"
#include "server/metrics/registry.h"

namespace concertina {

// What the engine reports, as Prometheus metrics. Called on the engine thread, read on any; calls
// cost a few additions.
class EngineMetrics : public EngineObserver {
 public:
  // `registry` must outlive this object. `policies`: names that series begin at 0 for.
  explicit EngineMetrics(MetricsRegistry& registry,
                         std::span<const std::string_view> policies = {});
  ~EngineMetrics() override;

  void OnGauges(const EngineGauges& gauges) override;
  void OnPrompt(int64_t text_tokens, int64_t image_tokens) override;
  void OnFold(std::string_view policy, int64_t entries_dropped, double ratio, double mass_kept,
              double seconds) override;
  void OnQuality(std::string_view policy, const TurnQuality& quality) override;
  void OnProbe(double seconds) override;
  void OnDecodeEviction(std::string_view policy, int64_t entries) override;
  void OnReusedEntries(int64_t entries) override;
  void OnBatch(int64_t rows) override;
  void OnFirstToken(double seconds) override;
  void OnInterToken(double seconds) override;
  void OnVision(double seconds) override;
  void OnTurnEnd(std::string_view reason, const TurnTimings& timings, int64_t generated,
                 double used_share_of_full) override;
  void OnSessionClosed(std::string_view reason) override;
  void OnEvicted(std::string_view reason, int64_t freed_bytes) override;
  void OnRebuild() override;

 private:
  struct Counters;
  struct Gauges;
  struct Histograms;
  struct Quality;
  std::unique_ptr<Counters> counters_;
  std::unique_ptr<Gauges> gauges_;
  std::unique_ptr<Histograms> histograms_;
  std::unique_ptr<Quality> quality_;
};

}  // namespace concertina
