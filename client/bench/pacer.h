#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <random>

namespace concertina::bench {

// When requests are due, and how many there are. Thread-safe.
class Pacer {
 public:
  using Offset = std::chrono::duration<double>;  // from the start of the run

  struct Options {
    double rate = 0;             // requests per second, arriving as a Poisson process; 0: at once
    uint64_t seed = 0;           // of the arrivals
    int64_t requests = 0;        // at most; 0: no limit
    std::optional<Offset> last;  // no request is due later
  };

  explicit Pacer(const Options& options);

  // When the next request is due; none when there are no more. `now` is when it is asked: a run of
  // limited time gives nothing out after its end.
  std::optional<Offset> Next(Offset now);

 private:
  const Options options_;
  std::mutex mutex_;
  // All below guarded by mutex_.
  std::mt19937_64 random_;
  int64_t given_ = 0;
  Offset due_{0};
};

}  // namespace concertina::bench
