#pragma once

#include "server/metrics/registry.h"

namespace concertina {

// What the kernel says about this process; 0 where it does not tell. Thread-safe.
double ProcessResidentBytes();
double ProcessPeakResidentBytes();
double ProcessOpenFiles();
double ProcessThreads();
double ProcessCpuSeconds();  // user and system, all threads

// Adds process_* metrics, read at each scrape.
void AddProcessMetrics(MetricsRegistry& registry);

}  // namespace concertina
