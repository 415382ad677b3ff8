#pragma once

#include "absl/status/statusor.h"
#include "bench/engine/driver.h"
#include "bench/engine/scenario.h"
#include "nlohmann/json.hpp"

namespace concertina::bench {

// Runs one scenario and returns what it measured. Every result has "scenario" and "runs", a list of
// objects with one entry per repetition; bench/README.md has the fields of each. INVALID_ARGUMENT
// for a scenario that does not exist; otherwise the engine's errors.
//
// Common keys: policy (full, concertina, elastic), ratio (of the tokens seen) or budget (tokens),
// repeat.
//
//   prefill   tokens                      a prompt of its own, to its first token
//   matrices                              the matrix products of 256 rows of a layer alone
//   decode    depth sessions tokens       sessions with a prompt of `depth` tokens decode together
//   protocol  sessions prompt tokens      all prompts at once, then all answers together
//   capacity  depth sessions tokens       pool bytes that decoding sessions need, full and folded
//   turns     turns tokens answer         a long conversation beside a short one
//   memory    sessions depth tokens       peak resident memory against what it consists of
absl::StatusOr<nlohmann::json> RunScenario(Driver& driver, const Scenario& scenario);

// The parts, one file each.
absl::StatusOr<nlohmann::json> RunPrefill(Driver& driver, const Scenario& scenario);
absl::StatusOr<nlohmann::json> RunMatrices(Driver& driver, const Scenario& scenario);
absl::StatusOr<nlohmann::json> RunDecode(Driver& driver, const Scenario& scenario);
absl::StatusOr<nlohmann::json> RunProtocol(Driver& driver, const Scenario& scenario);
absl::StatusOr<nlohmann::json> RunCapacity(Driver& driver, const Scenario& scenario);
absl::StatusOr<nlohmann::json> RunTurns(Driver& driver, const Scenario& scenario);
absl::StatusOr<nlohmann::json> RunMemory(Driver& driver, const Scenario& scenario);

// The cache a scenario asks for; policy "concertina" and ratio 0.2 unless it says so.
CacheOptions CacheOf(const Scenario& scenario);

// CPU time this process has used so far, in seconds.
double CpuSeconds();

// Bytes of a line of /proc/self/status ("VmHWM", "VmRSS"); 0 where there is none.
int64_t StatusBytes(const char* key);

}  // namespace concertina::bench
