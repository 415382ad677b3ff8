#include "server/metrics/engine_metrics.h"

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "server/metrics/buckets.h"

namespace concertina {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;

double Seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

// Stages a turn never reached have no duration: a zero would only pull the quantiles down.
void ObserveIfReached(Histogram& histogram, std::chrono::nanoseconds duration) {
  if (duration.count() > 0) histogram.Observe(Seconds(duration));
}

}  // namespace

struct EngineMetrics::Counters {
  Counters(MetricsRegistry& r, std::span<const std::string_view> policies)
      : finished(r.Counter("generations_finished_total", "Turns that ended, by reason.")),
        closed(r.Counter("sessions_closed_total", "Sessions that ended, by reason.")),
        evicted(
            r.Counter("session_evictions_total", "Caches of idle sessions given up, by reason.")),
        folded(r.Counter("kv_folded_entries_total",
                         "Cache entries dropped or merged, by phase and policy.")),
        prompt(r.Counter("prompt_tokens_total", "Prompt tokens prefilled, by modality.")),
        text_tokens(prompt.Add({{"modality", "text"}})),
        image_tokens(prompt.Add({{"modality", "image"}})),
        generated(r.Counter("generated_tokens_total", "Tokens generated.").Add({})),
        reused(r.Counter("kv_reused_entries_total",
                         "Cache entries carried into a turn instead of being computed again.")
                   .Add({})),
        rebuilds(r.Counter("session_rebuilds_total",
                           "Caches computed again from the transcript of their session.")
                     .Add({})),
        evicted_bytes(r.Counter("session_evicted_bytes_total",
                                "Bytes the pool got back from caches given up.")
                          .Add({})) {
    // From 0 on, so that rate() sees the first event, too.
    for (const char* reason : {"stop", "length", "stop_string", "cancelled", "deadline", "error"}) {
      finished.Add({{"reason", reason}});
    }
    for (const char* reason : {"closed", "expired"}) closed.Add({{"reason", reason}});
    for (const char* reason : {"pool", "admin"}) evicted.Add({{"reason", reason}});
    for (const std::string_view policy : policies) {
      for (const char* phase : {"prefill", "decode"}) {
        folded.Add({{"phase", phase}, {"policy", std::string(policy)}});
      }
    }
  }

  // By policy, found without making up labels: asked for every row of every step. Engine thread.
  Counter& EvictedWhileDecoding(std::string_view policy) {
    for (const auto& [name, counter] : decode_evictions) {
      if (name == policy) return *counter;
    }
    Counter& counter = folded.Add({{"phase", "decode"}, {"policy", std::string(policy)}});
    decode_evictions.emplace_back(policy, &counter);
    return counter;
  }

  Family<Counter>&finished, &closed, &evicted, &folded, &prompt;
  Counter &text_tokens, &image_tokens, &generated, &reused, &rebuilds, &evicted_bytes;
  std::vector<std::pair<std::string, Counter*>> decode_evictions;
};

struct EngineMetrics::Gauges {
  explicit Gauges(MetricsRegistry& r)
      : running(Make(r, "requests_running", "Turns in prefill or decoding.")),
        waiting(Make(r, "requests_waiting", "Turns waiting for admission.")),
        sessions(Make(r, "sessions_active", "Open sessions.")),
        busy(Make(r, "sessions_busy", "Sessions with a turn in flight.")),
        evicted(Make(r, "sessions_evicted",
                     "Sessions whose cache was given up and is computed again when needed.")),
        draining(Make(r, "draining", "1 while the server takes no new work.")),
        used(Make(r, "kv_pool_used_bytes", "Bytes of cache pages in use.")),
        reserved(Make(r, "kv_pool_reserved_bytes", "Bytes of the pool promised to sessions.")),
        capacity(Make(r, "kv_pool_capacity_bytes", "Size of the cache pool.")),
        workspace(Make(r, "workspace_bytes", "Memory of the engine's scratch buffers.")),
        transcript(Make(r, "transcript_bytes", "Memory of the sessions' transcripts.")) {}

  static Gauge& Make(MetricsRegistry& r, const char* name, const char* help) {
    return r.Gauge(name, help).Add({});
  }

  Gauge &running, &waiting, &sessions, &busy, &evicted, &draining, &used, &reserved, &capacity,
      &workspace, &transcript;
};

struct EngineMetrics::Histograms {
  explicit Histograms(MetricsRegistry& r)
      : first_token(Make(r, "time_to_first_token_seconds",
                         "From the arrival of a request to its first token.",
                         buckets::FirstToken())),
        inter_token(Make(r, "inter_token_latency_seconds", "Between two tokens of one answer.",
                         buckets::PerToken())),
        per_token(Make(r, "time_per_output_token_seconds",
                       "Mean time per token after the first, one observation per turn.",
                       buckets::PerToken())),
        queue(Make(r, "queue_duration_seconds", "Waiting for admission.", buckets::Duration())),
        prefill(Make(r, "prefill_duration_seconds", "Prefill of a turn, folding included.",
                     buckets::Duration())),
        fold(Make(r, "fold_duration_seconds", "Folding of one session.", buckets::Duration())),
        decode(Make(r, "decode_duration_seconds", "From the first token to the last.",
                    buckets::Duration())),
        vision(Make(r, "vision_encode_seconds", "Vision tower and projector, per turn.",
                    buckets::Duration())),
        compression(Make(r, "kv_compression_ratio", "Entries after a fold over entries before it.",
                         buckets::Ratio())),
        mass(Make(r, "kv_attention_mass_kept_ratio",
                  "Share of the attention paid that went to entries a fold kept.",
                  buckets::Ratio())),
        used(Make(r, "session_kv_used_ratio",
                  "Used bytes of a session after a turn over those of an unfolded cache.",
                  buckets::Ratio())),
        batch(Make(r, "batch_tokens", "Token rows of one engine step.", buckets::Rows())) {}

  static Histogram& Make(MetricsRegistry& r, const char* name, const char* help,
                         const buckets::Bounds& bounds) {
    return r.Histogram(name, help).Add({}, bounds);
  }

  Histogram &first_token, &inter_token, &per_token, &queue, &prefill, &fold, &decode, &vision,
      &compression, &mass, &used, &batch;
};

// Of every turn's fold, and of the probes where sessions ask for them.
struct EngineMetrics::Quality {
  Quality(MetricsRegistry& r, std::span<const std::string_view> policies)
      : agreement(r.Histogram("probe_agreement_ratio",
                              "Tokens that predict the same after a fold, of a probe's.")),
        raises(r.Counter("quality_raises_total",
                         "Prompts folded again with a larger budget for their session's floor.")),
        missed(r.Counter("quality_floor_missed_total",
                         "Turns whose fold stayed below their session's floor.")),
        mass(Histograms::Make(r, "kv_attention_mass_kept_lowest_ratio",
                              "Attention mass a turn's fold kept in the layer that kept least.",
                              buckets::Ratio())),
        divergence(Histograms::Make(r, "probe_kl_divergence_nats",
                                    "Divergence of predictions after a fold, mean of a probe.",
                                    buckets::Nats())),
        seconds(Histograms::Make(r, "probe_duration_seconds", "Probe of one fold.",
                                 buckets::Duration())) {
    for (const std::string_view policy : policies) {
      const prometheus::Labels labels{{"policy", std::string(policy)}};
      agreement.Add(labels, buckets::Ratio());
      raises.Add(labels);
      missed.Add(labels);
    }
  }

  void Observe(std::string_view policy, const TurnQuality& quality) {
    const prometheus::Labels labels{{"policy", std::string(policy)}};
    if (quality.measured) mass.Observe(quality.mass_kept_lowest);
    if (quality.probe_tokens > 0) {
      agreement.Add(labels, buckets::Ratio()).Observe(quality.agreement());
      divergence.Observe(quality.kl_divergence());
    }
    raises.Add(labels).Increment(quality.raises);
    missed.Add(labels).Increment(quality.below_min_quality ? 1 : 0);
  }

  Family<Histogram>& agreement;
  Family<Counter>&raises, &missed;
  Histogram &mass, &divergence, &seconds;
};

EngineMetrics::EngineMetrics(MetricsRegistry& registry, std::span<const std::string_view> policies)
    : counters_(std::make_unique<Counters>(registry, policies)),
      gauges_(std::make_unique<Gauges>(registry)),
      histograms_(std::make_unique<Histograms>(registry)),
      quality_(std::make_unique<Quality>(registry, policies)) {}

EngineMetrics::~EngineMetrics() = default;

void EngineMetrics::OnGauges(const EngineGauges& gauges) {
  const auto set = [](Gauge& gauge, int64_t value) { gauge.Set(static_cast<double>(value)); };
  set(gauges_->running, gauges.requests_running);
  set(gauges_->waiting, gauges.requests_waiting);
  set(gauges_->sessions, gauges.sessions_active);
  set(gauges_->busy, gauges.sessions_busy);
  set(gauges_->evicted, gauges.sessions_evicted);
  set(gauges_->draining, gauges.draining ? 1 : 0);
  set(gauges_->used, gauges.pool_used_bytes);
  set(gauges_->reserved, gauges.pool_reserved_bytes);
  set(gauges_->capacity, gauges.pool_capacity_bytes);
  set(gauges_->workspace, gauges.workspace_bytes);
  set(gauges_->transcript, gauges.transcript_bytes);
}

void EngineMetrics::OnPrompt(int64_t text_tokens, int64_t image_tokens) {
  counters_->text_tokens.Increment(static_cast<double>(text_tokens));
  counters_->image_tokens.Increment(static_cast<double>(image_tokens));
}

void EngineMetrics::OnFold(std::string_view policy, int64_t entries_dropped, double ratio,
                           double mass_kept, double seconds) {
  counters_->folded.Add({{"phase", "prefill"}, {"policy", std::string(policy)}})
      .Increment(static_cast<double>(entries_dropped));
  histograms_->compression.Observe(ratio);
  histograms_->mass.Observe(mass_kept);
  histograms_->fold.Observe(seconds);
}

void EngineMetrics::OnQuality(std::string_view policy, const TurnQuality& quality) {
  quality_->Observe(policy, quality);
}

void EngineMetrics::OnProbe(double seconds) { quality_->seconds.Observe(seconds); }

void EngineMetrics::OnDecodeEviction(std::string_view policy, int64_t entries) {
  counters_->EvictedWhileDecoding(policy).Increment(static_cast<double>(entries));
}

void EngineMetrics::OnReusedEntries(int64_t entries) {
  counters_->reused.Increment(static_cast<double>(entries));
}

void EngineMetrics::OnBatch(int64_t rows) { histograms_->batch.Observe(static_cast<double>(rows)); }

void EngineMetrics::OnFirstToken(double seconds) { histograms_->first_token.Observe(seconds); }

void EngineMetrics::OnInterToken(double seconds) { histograms_->inter_token.Observe(seconds); }

void EngineMetrics::OnVision(double seconds) { histograms_->vision.Observe(seconds); }

void EngineMetrics::OnTurnEnd(std::string_view reason, const TurnTimings& timings,
                              int64_t generated, double used_share_of_full) {
  counters_->finished.Add({{"reason", std::string(reason)}}).Increment();
  counters_->generated.Increment(static_cast<double>(generated));
  histograms_->queue.Observe(Seconds(timings.queue));
  ObserveIfReached(histograms_->prefill, timings.prefill);
  ObserveIfReached(histograms_->decode, timings.decode);
  if (generated > 1) {
    histograms_->per_token.Observe(Seconds(timings.decode) / static_cast<double>(generated - 1));
  }
  histograms_->used.Observe(used_share_of_full);
}

void EngineMetrics::OnSessionClosed(std::string_view reason) {
  counters_->closed.Add({{"reason", std::string(reason)}}).Increment();
}

void EngineMetrics::OnEvicted(std::string_view reason, int64_t freed_bytes) {
  counters_->evicted.Add({{"reason", std::string(reason)}}).Increment();
  counters_->evicted_bytes.Increment(static_cast<double>(freed_bytes));
}

void EngineMetrics::OnRebuild() { counters_->rebuilds.Increment(); }

}  // namespace concertina
