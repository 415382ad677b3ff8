#include <malloc.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>

#include "models/image/decode.h"
#include "server/app/log.h"
#include "server/app/runtime.h"
#include "server/app/server_config.h"
#include "server/app/signals.h"

namespace {

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

int Serve(const concertina::ServerConfig& config) {
  concertina::StopSignals signals;
  concertina::Log log(config.log_format, config.log_level);
  auto runtime = concertina::Runtime::Start(config, log);
  if (!runtime.ok()) {
    log.Error(std::string(runtime.status().message()));
    return 1;
  }
  signals.SetReady();
  if (!config.port_file.empty() && !WritePort(config.port_file, (*runtime)->port())) {
    log.Error("cannot write the port file");
    return 1;
  }
  log.Info("listening on " + (*runtime)->address());
  if (const int port = (*runtime)->metrics_port(); port != 0) {
    log.Info("metrics on port " + std::to_string(port));
  }
  signals.Wait();
  log.Info("stopping");
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
  return Serve(arguments.config);
}
