#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/bench/distribution.h"
#include "client/bench/turn_timer.h"
#include "concertina/v1/cache.pb.h"
#include "concertina/v1/generation.pb.h"

namespace concertina::bench {

// What a run measured. Latencies in seconds, of answered requests; definitions in kDefinitions.
struct Report {
  int64_t done = 0;
  int64_t failed = 0;
  int64_t retried = 0;                      // attempts after a refusal
  std::map<std::string, int64_t> failures;  // requests given up, by reason
  std::map<std::string, int64_t> refusals;  // attempts refused for now, by reason
  double duration_s = 0;                    // from the start to the last answer
  int64_t prompt_tokens = 0;                // pictures included
  int64_t image_tokens = 0;
  int64_t output_tokens = 0;
  Distribution first_token;
  Distribution per_output_token;
  Distribution inter_token;
  Distribution end_to_end;
  Distribution lag;         // behind the arrivals asked for
  int64_t sessions = 0;     // that answered at least once
  Distribution used_bytes;  // of each such session's cache after its last answer
  Distribution full_bytes;  // what the same tokens would take uncompressed

  double requests_per_s() const;
  double output_tokens_per_s() const;
  double tokens_per_s() const;  // prompt and output
};

// One line per name in the report: what is counted and how.
extern const char kDefinitions[];

// The reason of a failure: ErrorInfo's, or else the code's name.
std::string ReasonOf(const absl::Status& status);

// Collects a run. Thread-safe, except Finish.
class Collector {
 public:
  void Answered(const TurnTimes& times, const v1::Usage& usage, double lag_s);
  void Failed(const absl::Status& status);
  void Refused(const absl::Status& status, bool will_retry);
  // A session is over; its cache after the last answer.
  void SessionEnded(const v1::CacheState& cache);

  Report Finish(double duration_s);

 private:
  std::mutex mutex_;
  // All below guarded by mutex_.
  Report report_;
  std::vector<double> first_token_;
  std::vector<double> per_output_token_;
  std::vector<double> inter_token_;
  std::vector<double> end_to_end_;
  std::vector<double> lag_;
  std::vector<double> used_bytes_;
  std::vector<double> full_bytes_;
};

}  // namespace concertina::bench
