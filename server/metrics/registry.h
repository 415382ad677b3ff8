#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "prometheus/counter.h"
#include "prometheus/exposer.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace concertina {

class SampledMetrics;

// All metrics of one process. Every name gets the prefix "concertina_" and every series the label
// `model`. Thread-safe.
class MetricsRegistry {
 public:
  explicit MetricsRegistry(std::string model_name);
  ~MetricsRegistry();

  // A second call with the same name returns the same family.
  prometheus::Family<prometheus::Counter>& Counter(const std::string& name,
                                                   const std::string& help);
  prometheus::Family<prometheus::Gauge>& Gauge(const std::string& name, const std::string& help);
  prometheus::Family<prometheus::Histogram>& Histogram(const std::string& name,
                                                       const std::string& help);

  // A gauge read when somebody scrapes. `read` is called on the scraping thread; it must stay valid
  // as long as the registry is exposed.
  void SampleGauge(const std::string& name, const std::string& help, std::function<double()> read);
  // The same for a number that only grows; the name ends in _total.
  void SampleCounter(const std::string& name, const std::string& help,
                     std::function<double()> read);

  // What /metrics answers, in the Prometheus text format.
  std::string Text() const;

  // Serves /metrics on "host:port" (port 0 takes a free one) until destruction; returns the port.
  // FAILED_PRECONDITION when the address cannot be used.
  absl::StatusOr<int> Expose(const std::string& listen);
  // Ends serving; waits for a scrape under way. What the sampling functions read may go after this.
  void StopExposing();

 private:
  prometheus::Labels labels_;
  std::shared_ptr<prometheus::Registry> registry_;
  std::shared_ptr<SampledMetrics> sampled_;
  std::unique_ptr<prometheus::Exposer> exposer_;
  std::pair<std::string, int> address_;  // the exposer's, as seen from here
};

}  // namespace concertina
