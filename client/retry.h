#pragma once

#include <chrono>
#include <string>

namespace concertina::client {

// How gRPC itself repeats calls that the server refused for now: RESOURCE_EXHAUSTED or UNAVAILABLE
// before any event of an answer. The pause is the server's (trailer grpc-retry-pushback-ms, which
// says the same as RetryInfo), or without one random, below a bound that doubles. The deadline of a
// call spans all its attempts.
//
// OpenSession, ForkSession and Generate are repeated on RESOURCE_EXHAUSTED only: behind UNAVAILABLE
// an earlier attempt may have been carried out. OpenOptions::retry_for knows how to tell; a turn
// can be said again with AskOptions::expected_turn set.
struct RetryOptions {
  int max_attempts = 1;  // in all, 1 to 5 (gRPC's limit); 1: calls are not repeated
  std::chrono::milliseconds initial_backoff{200};
  std::chrono::milliseconds max_backoff{5'000};
};

// The service config (JSON) that makes a channel do so; empty if calls are not repeated.
std::string RetryServiceConfig(const RetryOptions& options);

}  // namespace concertina::client
