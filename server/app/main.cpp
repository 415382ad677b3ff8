#include <malloc.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "models/image/decode.h"
#include "server/app/log.h"
#include "server/app/runtime.h"
#include "server/app/server_config.h"
#include "server/app/signals.h"
#include "server/app/units.h"

namespace {

// Of everything, after the grace period. It takes a fraction of a second where nothing is wrong.
constexpr std::chrono::seconds kTakingDown{8};

// Large blocks stay with the process: giving each back to the kernel and faulting it in again makes
// tensor code up to 2.7 times slower.
void ConfigureMalloc() {
  constexpr int kMapFromBytes = 32 << 20;  // glibc takes no more
  constexpr int kKeepBytes = 1 << 30;
  mallopt(M_MMAP_THRESHOLD, kMapFromBytes);
  mallopt(M_TRIM_THRESHOLD, kKeepBytes);
}

// Whole or not at all: whoever waits for the file must not read half a number.
bool WritePort(const std::string& path, int port) {
  const std::string temporary = path + ".tmp";
  {
    std::ofstream file(temporary, std::ios::trunc);
    file << port << '\n';
    if (!file.flush()) return false;
  }
  return std::rename(temporary.c_str(), path.c_str()) == 0;
}

int PrintMemory(const concertina::ServerConfig& config) {
  concertina::Log log(config.log_format, "error");
  const auto plan = concertina::Runtime::PlanOnly(config, log);
  if (!plan.ok()) {
    log.Error(std::string(plan.status().message()));
    return 1;
  }
  std::cout << concertina::FormatMemoryPlan(*plan);
  return 0;
}

int Serve(const concertina::ServerConfig& config, const std::vector<std::string>& warnings) {
  concertina::Log log(config.log_format, config.log_level);
  concertina::StopSignals signals([&log] { log.Warning("stopping at once: a second signal"); });
  for (const std::string& warning : warnings) log.Warning(warning);
  auto runtime = concertina::Runtime::Start(config, log);
  if (!runtime.ok()) {
    log.Error(std::string(runtime.status().message()));
    return 1;
  }
  signals.SetReady();
  log.Info("listening on " + (*runtime)->address());
  if (const std::string admin = (*runtime)->admin_address(); !admin.empty()) {
    log.Info("admin on " + admin);
  }
  if (const int port = (*runtime)->metrics_port(); port != 0) {
    log.Info("metrics on port " + std::to_string(port));
  }
  // Last: who waits for the file finds everything else done.
  if (!config.port_file.empty() && !WritePort(config.port_file, (*runtime)->port())) {
    log.Error("cannot write the port file");
    return 1;
  }
  signals.Wait();
  signals.EndAt(std::chrono::steady_clock::now() + config.grace_period + kTakingDown,
                [&log] { log.Error("the stop takes too long: the process ends as it is"); });
  log.Info("stopping: turns in flight may go on for " +
           concertina::FormatDuration(config.grace_period));
  (*runtime)->Stop(config.grace_period);
  runtime->reset();
  log.Info("stopped");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const concertina::ParsedArguments arguments = concertina::ParseArguments(argc, argv);
  if (arguments.exit_code.has_value()) {
    (*arguments.exit_code == 0 ? std::cout : std::cerr) << arguments.message;
    return *arguments.exit_code;
  }
  ConfigureMalloc();
  concertina::ConfigureOpenCv(arguments.config.limits.images);
  return arguments.print_memory ? PrintMemory(arguments.config)
                                : Serve(arguments.config, arguments.warnings);
}
