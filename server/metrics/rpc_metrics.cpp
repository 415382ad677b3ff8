#include "server/metrics/rpc_metrics.h"

#include <initializer_list>
#include <string>

#include "server/metrics/buckets.h"

namespace concertina {
namespace {

using Names = std::initializer_list<const char*>;

// Series that begin at 0, so that rate() sees the first event, too. Others appear when they happen.
constexpr Names kMethods = {"OpenSession",  "Generate",     "Score",         "UploadImage",
                            "GetSession",   "ListSessions", "UpdateSession", "ForkSession",
                            "CloseSession", "Tokenize",     "GetModel",      "GetLoad",
                            "Drain",        "EvictSession"};
constexpr Names kCodes = {
    "OK",        "CANCELLED",      "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "INTERNAL",       "UNAVAILABLE"};
constexpr Names kReasons = {
    "INVALID",           "SESSION_NOT_FOUND", "SESSION_EXISTS",   "SESSION_CLOSED",
    "TURN_IN_FLIGHT",    "TURN_MISMATCH",     "SESSION_LIMIT",    "QUEUE_FULL",
    "QUEUE_TIMEOUT",     "TRANSCRIPT_LIMIT",  "POOL_EXHAUSTED",   "BUDGET_TOO_SMALL",
    "CONTEXT_EXHAUSTED", "PROMPT_TOO_LONG",   "NO_VISION",        "IMAGE_NOT_FOUND",
    "DRAINING",          "CALL_LIMIT",        "CONNECTION_LIMIT", "UPLOAD_LIMIT",
    "OUT_OF_MEMORY",     "CLIENT_STALLED",    "FRAME_FLOOD",      "NOT_HTTP2",
    "NOT_ON_DEVICE"};

}  // namespace

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
                       .Add({}, buckets::PerToken())) {
  for (const char* reason : kReasons) rejected_.Add({{"reason", reason}});
  for (const char* method : kMethods) {
    for (const char* code : kCodes) requests_.Add({{"method", method}, {"code", code}});
  }
}

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
