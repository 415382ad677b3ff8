#include "server/app/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <nlohmann/json.hpp>

namespace concertina {
namespace {

using Json = nlohmann::ordered_json;

// RFC 3339 in UTC, with milliseconds.
std::string Timestamp() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  char text[40];
  const size_t length = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
  return std::string(text, length) + fmt::format(".{:03}Z", ms);
}

Json Line(std::string_view level, std::string_view message) {
  return {{"time", Timestamp()}, {"level", level}, {"message", message}};
}

std::string Dump(const Json& line) {
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool IsOurFailure(std::string_view code) {
  return code == "INTERNAL" || code == "UNKNOWN" || code == "DATA_LOSS";
}

std::string_view OrDash(std::string_view id) { return id.empty() ? "-" : id; }

std::string CallText(const CallLogEntry& entry) {
  std::string text = fmt::format("{} {} {:.1f} ms", entry.method, entry.code, entry.seconds * 1e3);
  if (!entry.reason.empty()) text += fmt::format(" reason={}", entry.reason);
  return text +
         fmt::format(" session={} request={}", OrDash(entry.session_id), OrDash(entry.request_id));
}

std::string CallJson(const CallLogEntry& entry, std::string_view level) {
  Json line = Line(level, "call");
  line["method"] = entry.method;
  line["code"] = entry.code;
  line["seconds"] = entry.seconds;
  if (!entry.reason.empty()) line["reason"] = entry.reason;
  line["session_id"] = OrDash(entry.session_id);
  line["request_id"] = OrDash(entry.request_id);
  return Dump(line);
}

}  // namespace

Log::Log(LogFormat format, const std::string& level)
    : format_(format),
      logger_(std::make_shared<spdlog::logger>("concertina",
                                               std::make_shared<spdlog::sinks::stderr_sink_mt>())) {
  logger_->set_level(spdlog::level::from_str(level));
  logger_->set_pattern(format == LogFormat::kJson ? "%v" : "%Y-%m-%dT%H:%M:%S.%e %L %v");
}

Log::~Log() { logger_->flush(); }

void Log::Write(int level, std::string_view message) {
  const auto as = static_cast<spdlog::level::level_enum>(level);
  if (!logger_->should_log(as)) return;
  const auto name = spdlog::level::to_string_view(as);
  logger_->log(as, "{}",
               format_ == LogFormat::kJson ? Dump(Line({name.data(), name.size()}, message))
                                           : std::string(message));
}

void Log::Debug(std::string_view message) { Write(spdlog::level::debug, message); }
void Log::Info(std::string_view message) { Write(spdlog::level::info, message); }
void Log::Warning(std::string_view message) { Write(spdlog::level::warn, message); }
void Log::Error(std::string_view message) { Write(spdlog::level::err, message); }

void Log::Call(const CallLogEntry& entry) {
  const auto level = IsOurFailure(entry.code) ? spdlog::level::err : spdlog::level::info;
  if (!logger_->should_log(level)) return;
  const std::string_view name = level == spdlog::level::err ? "error" : "info";
  logger_->log(level, "{}", format_ == LogFormat::kJson ? CallJson(entry, name) : CallText(entry));
}

}  // namespace concertina
