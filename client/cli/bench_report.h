#pragma once

#include <string>

#include "client/bench/load.h"
#include "nlohmann/json.hpp"

namespace concertina::cli {

// A run as the usual table, several lines.
std::string BenchText(const bench::LoadOptions& options, const bench::Report& report);

// The same for scripts: latencies in milliseconds, as {count, mean, median, p95, p99, max}.
nlohmann::json BenchJson(const bench::LoadOptions& options, const bench::Report& report);

}  // namespace concertina::cli
