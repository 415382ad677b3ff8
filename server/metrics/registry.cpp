#include "server/metrics/registry.h"

#include <unistd.h>

#include <exception>
#include <fstream>
#include <mutex>
#include <utility>
#include <vector>

#include "prometheus/text_serializer.h"

namespace concertina {
namespace {

constexpr char kPrefix[] = "concertina_";

}  // namespace

// Gauges whose value is asked for at each scrape.
class SampledGauges final : public prometheus::Collectable {
 public:
  explicit SampledGauges(prometheus::Labels labels) {
    for (const auto& [name, value] : labels) labels_.push_back({name, value});
  }

  void Add(std::string name, std::string help, std::function<double()> read) {
    const std::lock_guard lock(mutex_);
    gauges_.push_back({std::move(name), std::move(help), std::move(read)});
  }

  std::vector<prometheus::MetricFamily> Collect() const override {
    const std::lock_guard lock(mutex_);
    std::vector<prometheus::MetricFamily> families;
    for (const Sampled& gauge : gauges_) {
      prometheus::ClientMetric metric;
      metric.label = labels_;
      metric.gauge.value = gauge.read();
      prometheus::MetricFamily family;
      family.name = gauge.name;
      family.help = gauge.help;
      family.type = prometheus::MetricType::Gauge;
      family.metric.push_back(std::move(metric));
      families.push_back(std::move(family));
    }
    return families;
  }

 private:
  struct Sampled {
    std::string name;
    std::string help;
    std::function<double()> read;
  };

  std::vector<prometheus::ClientMetric::Label> labels_;
  mutable std::mutex mutex_;
  std::vector<Sampled> gauges_;
};

MetricsRegistry::MetricsRegistry(std::string model_name)
    : labels_{{"model", std::move(model_name)}},
      registry_(std::make_shared<prometheus::Registry>()),
      sampled_(std::make_shared<SampledGauges>(labels_)) {}

MetricsRegistry::~MetricsRegistry() = default;

prometheus::Family<prometheus::Counter>& MetricsRegistry::Counter(const std::string& name,
                                                                  const std::string& help) {
  return prometheus::BuildCounter()
      .Name(kPrefix + name)
      .Help(help)
      .Labels(labels_)
      .Register(*registry_);
}

prometheus::Family<prometheus::Gauge>& MetricsRegistry::Gauge(const std::string& name,
                                                              const std::string& help) {
  return prometheus::BuildGauge()
      .Name(kPrefix + name)
      .Help(help)
      .Labels(labels_)
      .Register(*registry_);
}

prometheus::Family<prometheus::Histogram>& MetricsRegistry::Histogram(const std::string& name,
                                                                      const std::string& help) {
  return prometheus::BuildHistogram()
      .Name(kPrefix + name)
      .Help(help)
      .Labels(labels_)
      .Register(*registry_);
}

void MetricsRegistry::SampleGauge(const std::string& name, const std::string& help,
                                  std::function<double()> read) {
  sampled_->Add(kPrefix + name, help, std::move(read));
}

std::string MetricsRegistry::Text() const {
  std::vector<prometheus::MetricFamily> families = registry_->Collect();
  for (prometheus::MetricFamily& family : sampled_->Collect())
    families.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(families);
}

absl::StatusOr<int> MetricsRegistry::Expose(const std::string& listen) {
  try {
    exposer_ = std::make_unique<prometheus::Exposer>(listen);
    exposer_->RegisterCollectable(registry_);
    exposer_->RegisterCollectable(sampled_);
    const std::vector<int> ports = exposer_->GetListeningPorts();
    if (!ports.empty()) return ports.front();
  } catch (const std::exception&) {
    // CivetWeb's text says nothing beyond "null context"; ours names what the operator can change.
  }
  exposer_.reset();
  return absl::FailedPreconditionError("metrics cannot listen on " + listen);
}

double ProcessResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  double total_pages = 0;
  double resident_pages = 0;
  if (!(statm >> total_pages >> resident_pages)) return 0;
  return resident_pages * static_cast<double>(sysconf(_SC_PAGESIZE));
}

}  // namespace concertina
