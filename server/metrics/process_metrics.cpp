#include "server/metrics/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

namespace concertina {
namespace {

// The number of a line "Name:   12 kB" of /proc/self/status.
double StatusNumber(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) return std::atof(line.c_str() + name.size() + 1);
  }
  return 0;
}

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

}  // namespace

double ProcessResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  double total_pages = 0;
  double resident_pages = 0;
  if (!(statm >> total_pages >> resident_pages)) return 0;
  return resident_pages * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double ProcessPeakResidentBytes() { return StatusNumber("VmHWM") * 1024; }

double ProcessThreads() { return StatusNumber("Threads"); }

double ProcessOpenFiles() {
  std::error_code error;
  const std::filesystem::directory_iterator files("/proc/self/fd", error);
  if (error) return 0;
  // The listing itself is one.
  return static_cast<double>(std::distance(begin(files), end(files))) - 1;
}

double ProcessCpuSeconds() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  return Seconds(usage.ru_utime) + Seconds(usage.ru_stime);
}

void AddProcessMetrics(MetricsRegistry& registry) {
  const double start =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  registry.SampleGauge("process_resident_memory_bytes", "Resident memory of the process.",
                       ProcessResidentBytes);
  registry.SampleGauge("process_peak_resident_memory_bytes",
                       "The most resident memory the process ever had.", ProcessPeakResidentBytes);
  registry.SampleGauge("process_open_fds", "Open file descriptors.", ProcessOpenFiles);
  registry.SampleGauge("process_threads", "Threads of the process.", ProcessThreads);
  registry.SampleCounter("process_cpu_seconds_total", "User and system time, all threads.",
                         ProcessCpuSeconds);
  registry.SampleGauge("process_start_time_seconds", "When the process began, in Unix time.",
                       [start] { return start; });
}

}  // namespace concertina
