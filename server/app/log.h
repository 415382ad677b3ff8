#pragma once

#include <spdlog/fwd.h>

#include <memory>
#include <string>
#include <string_view>

#include "server/app/server_config.h"
#include "server/rpc/environment.h"

namespace concertina {

// The process's log on stderr: one line per event, text or JSON. Ids, codes and times; never what
// users or the model said. Thread-safe.
class Log {
 public:
  // `level`: debug, info, warning, error.
  Log(LogFormat format, const std::string& level);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  void Debug(std::string_view message);
  void Info(std::string_view message);
  void Warning(std::string_view message);
  void Error(std::string_view message);
  // Finished calls: failures of ours as errors, others as info. Ids that the client did not send
  // are "-", so that every line has the same fields.
  void Call(const CallLogEntry& entry);

 private:
  void Write(int level, std::string_view message);

  const LogFormat format_;
  std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace concertina
