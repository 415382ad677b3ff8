#pragma once

#include <string_view>

#include "server/metrics/registry.h"

namespace concertina {

// What the RPC layer reports, as Prometheus metrics. Thread-safe.
class RpcMetrics {
 public:
  // `registry` must outlive this object.
  explicit RpcMetrics(MetricsRegistry& registry);

  // One finished call. `method` is a method name of ours ("Generate"), `code` a gRPC code
  // ("NOT_FOUND").
  void OnCall(std::string_view method, std::string_view code, double seconds);
  // A refusal the engine never saw.
  void OnRejected(std::string_view reason);
  // Probe, decode and preprocessing of one picture.
  void OnImageDecode(double seconds);
  // A stream had something to say while its last message was not yet taken for this long.
  void OnWriteStall(double seconds);

 private:
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Family<prometheus::Counter>& rejected_;
  prometheus::Family<prometheus::Histogram>& durations_;
  prometheus::Histogram& image_decode_;
  prometheus::Histogram& write_stall_;
};

}  // namespace concertina
