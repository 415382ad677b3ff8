#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace concertina::testing {

// Whether the environment asks for the full size of a campaign (CONCERTINA_FULL=1).
bool IsFullSize();

// `ordinary` in an ordinary run, `full` in one of full size.
int Sized(int ordinary, int full);

// The seed of this run: CONCERTINA_SEED, or a new one. Printed when it is first asked for.
uint32_t Seed();

// A generator of its own for each `stream` of a campaign: threads stay reproducible.
std::mt19937 RandomStream(uint32_t stream);

// A number in [low, high].
int Draw(std::mt19937& random, int low, int high);

// The value that `share` of `values` do not exceed; 0 if there are none.
double Percentile(std::vector<double> values, double share);

// Milliseconds from `start` to now.
double MsSince(std::chrono::steady_clock::time_point start);

// Asks every 5 ms until `holds` or `limit` is over; whether it held.
bool Eventually(std::chrono::milliseconds limit, const std::function<bool()>& holds);

// Resident memory of a process, bytes; 0 if it is gone.
int64_t ResidentBytes(pid_t pid);

// The figures of a campaign in one line: "FIGURES name: seed 7, ...".
void PrintFigures(const std::string& name, const std::string& figures);

}  // namespace concertina::testing
