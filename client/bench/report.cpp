#include "client/bench/report.h"

#include "client/errors.h"

namespace concertina::bench {
namespace {

double PerSecond(int64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

}  // namespace

const char kDefinitions[] =
    "A request is one turn. Times are the client's and start when the turn is sent, after\n"
    "its session was opened; waits of --retries count. Failed requests count only as such.\n"
    "  TTFT       to the arrival of the first token\n"
    "  TPOT       (last token - first token) / (tokens - 1), per request of 2 tokens or more\n"
    "  ITL        between one token and the next; of n tokens that arrive together each\n"
    "             counts as an n-th of the gap before them; nothing before the first ones\n"
    "  E2E        to the end of the call\n"
    "  lag        with --rate: how much later than due a request was sent\n"
    "  cache      of each session after its last answer; full: the same tokens uncompressed\n"
    "Percentiles lie linearly between the nearest two values. Rates are over the time from\n"
    "the start to the last answer; all tokens are prompt (with pictures) and output.";

double Report::requests_per_s() const { return PerSecond(done, duration_s); }
double Report::output_tokens_per_s() const { return PerSecond(output_tokens, duration_s); }
double Report::tokens_per_s() const { return PerSecond(prompt_tokens + output_tokens, duration_s); }

std::string ReasonOf(const absl::Status& status) {
  const std::string reason = client::DetailsOf(status).reason;
  return reason.empty() ? absl::StatusCodeToString(status.code()) : reason;
}

void Collector::Answered(const TurnTimes& times, const v1::Usage& usage, double lag_s) {
  const std::lock_guard lock(mutex_);
  ++report_.done;
  report_.prompt_tokens += usage.prompt_tokens();
  report_.image_tokens += usage.image_tokens();
  report_.output_tokens += usage.generated_tokens();
  end_to_end_.push_back(times.end);
  lag_.push_back(lag_s);
  // An answer may be empty.
  if (times.tokens > 0) first_token_.push_back(times.first_token);
  if (times.tokens > 1) per_output_token_.push_back(times.PerOutputToken());
  inter_token_.insert(inter_token_.end(), times.inter_token.begin(), times.inter_token.end());
}

void Collector::Failed(const absl::Status& status) {
  const std::lock_guard lock(mutex_);
  ++report_.failed;
  ++report_.failures[ReasonOf(status)];
}

void Collector::Refused(const absl::Status& status, bool will_retry) {
  const std::lock_guard lock(mutex_);
  ++report_.refusals[ReasonOf(status)];
  if (will_retry) ++report_.retried;
}

void Collector::SessionEnded(const v1::CacheState& cache) {
  const std::lock_guard lock(mutex_);
  ++report_.sessions;
  used_bytes_.push_back(static_cast<double>(cache.used_bytes()));
  full_bytes_.push_back(static_cast<double>(cache.full_bytes()));
}

Report Collector::Finish(double duration_s) {
  const std::lock_guard lock(mutex_);
  report_.duration_s = duration_s;
  report_.first_token = Describe(first_token_);
  report_.per_output_token = Describe(per_output_token_);
  report_.inter_token = Describe(inter_token_);
  report_.end_to_end = Describe(end_to_end_);
  report_.lag = Describe(lag_);
  report_.used_bytes = Describe(used_bytes_);
  report_.full_bytes = Describe(full_bytes_);
  return report_;
}

}  // namespace concertina::bench
