#include "server/metrics/rpc_metrics.h"

#include <string>

#include "server/metrics/buckets.h"

namespace concertina {

RpcMetrics::RpcMetrics(MetricsRegistry& registry)
    : requests_(registry.Counter("requests_total", "Finished calls, by method and status code.")),
      rejected_(registry.Counter("requests_rejected_total", "Requests refused, by reason.")),
      durations_(registry.Histogram("request_duration_seconds",
                                    "From arrival to status, by method and status code.")),
      image_decode_(registry
                        .Histogram("image_decode_seconds",
                                   "Checking, decoding and preprocessing of one picture.")
                        .Add({}, buckets::Duration())),
      write_stall_(registry
                       .Histogram("stream_write_stall_seconds",
                                  "How long text waited for a client to take what was sent before.")
                       .Add({}, buckets::PerToken())) {}

void RpcMetrics::OnCall(std::string_view method, std::string_view code, double seconds) {
  const prometheus::Labels labels{{"method", std::string(method)}, {"code", std::string(code)}};
  requests_.Add(labels).Increment();
  durations_.Add(labels, buckets::Duration()).Observe(seconds);
}

void RpcMetrics::OnRejected(std::string_view reason) {
  rejected_.Add({{"reason", std::string(reason)}}).Increment();
}

void RpcMetrics::OnImageDecode(double seconds) { image_decode_.Observe(seconds); }

void RpcMetrics::OnWriteStall(double seconds) { write_stall_.Observe(seconds); }

}  // namespace concertina
