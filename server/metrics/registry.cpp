#include "server/metrics/registry.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "prometheus/text_serializer.h"

namespace concertina {
namespace {

constexpr char kPrefix[] = "concertina_";
constexpr std::chrono::milliseconds kVisitInterval{5};

// Where this process reaches what it listens on itself. CivetWeb takes "PORT" and "HOST:PORT".
std::pair<std::string, int> ConnectableAddress(const std::string& listen, int port) {
  const size_t colon = listen.rfind(':');
  std::string host = colon == std::string::npos ? "" : listen.substr(0, colon);
  if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
  if (host.empty() || host == "0.0.0.0") host = "127.0.0.1";
  if (host == "::") host = "::1";
  return {host, port};
}

// Connects and hangs up.
void Visit(const std::pair<std::string, int>& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(address.second);
  if (getaddrinfo(address.first.c_str(), port.c_str(), &hints, &found) != 0) return;
  const int file = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (file >= 0) {
    // Whether it succeeds does not matter: the listener may be gone already.
    static_cast<void>(connect(file, found->ai_addr, found->ai_addrlen));
    close(file);
  }
  freeaddrinfo(found);
}

}  // namespace

// Metrics whose value is asked for at each scrape.
class SampledMetrics final : public prometheus::Collectable {
 public:
  explicit SampledMetrics(prometheus::Labels labels) {
    for (const auto& [name, value] : labels) labels_.push_back({name, value});
  }

  void Add(prometheus::MetricType type, std::string name, std::string help,
           std::function<double()> read) {
    const std::lock_guard lock(mutex_);
    metrics_.push_back({type, std::move(name), std::move(help), std::move(read)});
  }

  std::vector<prometheus::MetricFamily> Collect() const override {
    const std::lock_guard lock(mutex_);
    std::vector<prometheus::MetricFamily> families;
    for (const Sampled& sampled : metrics_) {
      prometheus::ClientMetric metric;
      metric.label = labels_;
      (sampled.type == prometheus::MetricType::Counter ? metric.counter.value
                                                       : metric.gauge.value) = sampled.read();
      prometheus::MetricFamily family;
      family.name = sampled.name;
      family.help = sampled.help;
      family.type = sampled.type;
      family.metric.push_back(std::move(metric));
      families.push_back(std::move(family));
    }
    return families;
  }

 private:
  struct Sampled {
    prometheus::MetricType type;
    std::string name;
    std::string help;
    std::function<double()> read;
  };

  std::vector<prometheus::ClientMetric::Label> labels_;
  mutable std::mutex mutex_;
  std::vector<Sampled> metrics_;
};

MetricsRegistry::MetricsRegistry(std::string model_name)
    : labels_{{"model", std::move(model_name)}},
      registry_(std::make_shared<prometheus::Registry>()),
      sampled_(std::make_shared<SampledMetrics>(labels_)) {}

MetricsRegistry::~MetricsRegistry() { StopExposing(); }

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
  sampled_->Add(prometheus::MetricType::Gauge, kPrefix + name, help, std::move(read));
}

void MetricsRegistry::SampleCounter(const std::string& name, const std::string& help,
                                    std::function<double()> read) {
  sampled_->Add(prometheus::MetricType::Counter, kPrefix + name, help, std::move(read));
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
    if (const auto ports = exposer_->GetListeningPorts(); !ports.empty()) {
      address_ = ConnectableAddress(listen, ports.front());
      return ports.front();
    }
  } catch (const std::exception&) {
    // CivetWeb's text says nothing beyond "null context"; ours names what the operator can change.
  }
  exposer_.reset();
  return absl::FailedPreconditionError("metrics cannot listen on " + listen);
}

void MetricsRegistry::StopExposing() {
  if (exposer_ == nullptr) return;
  std::atomic<bool> stopped{false};
  // CivetWeb's listening thread notices that it shall stop when poll() returns, which without a
  // visitor takes up to two seconds. So it gets visitors.
  std::thread visitor;
  try {
    visitor = std::thread([&] {
      while (!stopped) {
        Visit(address_);
        std::this_thread::sleep_for(kVisitInterval);
      }
    });
  } catch (const std::system_error&) {
    // No thread to be had: it takes the two seconds.
  }
  exposer_.reset();
  stopped = true;
  if (visitor.joinable()) visitor.join();
}

}  // namespace concertina
