#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "prometheus/counter.h"
#include "prometheus/exposer.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace concertina {

class SampledGauges;

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

  // What /metrics answers, in the Prometheus text format.
  std::string Text() const;

  // Serves /metrics on "host:port" (port 0 takes a free one) until destruction; returns the port.
  // FAILED_PRECONDITION when the address cannot be used.
  absl::StatusOr<int> Expose(const std::string& listen);
  // Ends serving; waits for a scrape under way. What SampleGauge's functions read may go after
  // this.
  void StopExposing() { exposer_.reset(); }

 private:
  prometheus::Labels labels_;
  std::shared_ptr<prometheus::Registry> registry_;
  std::shared_ptr<SampledGauges> sampled_;
  std::unique_ptr<prometheus::Exposer> exposer_;
};

// Resident set of this process in bytes; 0 when the kernel does not tell.
double ProcessResidentBytes();

}  // namespace concertina
