#include "client/cli/bench_report.h"

#include "absl/strings/str_format.h"
#include "client/cli/text.h"

namespace concertina::cli {
namespace {

using bench::Distribution;
using bench::LoadOptions;
using bench::Report;
using nlohmann::json;

constexpr double kMilliseconds = 1e3;
constexpr double kBytes = 1;
constexpr double kKibibytes = 1.0 / 1024;

void AddRow(std::string* text, const char* name, const Distribution& values, double unit) {
  absl::StrAppendFormat(text, "%-22s", name);
  if (values.count == 0) {
    absl::StrAppend(text, "          -\n");
    return;
  }
  absl::StrAppendFormat(text, " %10.2f %10.2f %10.2f %10.2f %10.2f\n", values.mean * unit,
                        values.median * unit, values.p95 * unit, values.p99 * unit,
                        values.max * unit);
}

void AddReasons(std::string* text, const char* name,
                const std::map<std::string, int64_t>& reasons) {
  for (const auto& [reason, count] : reasons) {
    absl::StrAppendFormat(text, "%-13s %s %s\n", name, FormatCount(count), PrintableText(reason));
  }
}

json ToJson(const Distribution& values, double unit) {
  return {{"count", values.count},          {"mean", values.mean * unit},
          {"median", values.median * unit}, {"p95", values.p95 * unit},
          {"p99", values.p99 * unit},       {"max", values.max * unit}};
}

}  // namespace

std::string BenchText(const LoadOptions& options, const Report& report) {
  std::string text =
      absl::StrFormat("requests      %s done, %s failed, in %.2f s; %d sessions, %d turns at once",
                      FormatCount(report.done), FormatCount(report.failed), report.duration_s,
                      options.sessions, options.concurrency);
  if (options.pace.rate > 0) absl::StrAppendFormat(&text, ", %g due a second", options.pace.rate);
  absl::StrAppend(&text, "\n");
  AddReasons(&text, "failed", report.failures);
  AddReasons(&text, "refused", report.refusals);
  if (report.retried > 0) {
    absl::StrAppendFormat(&text, "retried       %s\n", FormatCount(report.retried));
  }
  absl::StrAppendFormat(&text, "tokens        %s prompt (%s of pictures), %s output\n",
                        FormatCount(report.prompt_tokens), FormatCount(report.image_tokens),
                        FormatCount(report.output_tokens));
  absl::StrAppendFormat(
      &text, "a second      %.3f requests, %.2f output tokens, %.2f tokens in all\n\n",
      report.requests_per_s(), report.output_tokens_per_s(), report.tokens_per_s());
  absl::StrAppendFormat(&text, "%-22s %10s %10s %10s %10s %10s\n", "", "mean", "median", "p95",
                        "p99", "max");
  AddRow(&text, "TTFT, ms", report.first_token, kMilliseconds);
  AddRow(&text, "TPOT, ms", report.per_output_token, kMilliseconds);
  AddRow(&text, "ITL, ms", report.inter_token, kMilliseconds);
  AddRow(&text, "E2E, ms", report.end_to_end, kMilliseconds);
  if (options.pace.rate > 0) AddRow(&text, "lag, ms", report.lag, kMilliseconds);
  AddRow(&text, "cache used, KiB", report.used_bytes, kKibibytes);
  AddRow(&text, "cache full, KiB", report.full_bytes, kKibibytes);
  return text;
}

json BenchJson(const LoadOptions& options, const Report& report) {
  json out = {{"done", report.done},
              {"failed", report.failed},
              {"failures", report.failures},
              {"refusals", report.refusals},
              {"retried", report.retried},
              {"duration_s", report.duration_s},
              {"sessions", report.sessions},
              {"prompt_tokens", report.prompt_tokens},
              {"image_tokens", report.image_tokens},
              {"output_tokens", report.output_tokens},
              {"requests_per_s", report.requests_per_s()},
              {"output_tokens_per_s", report.output_tokens_per_s()},
              {"tokens_per_s", report.tokens_per_s()},
              {"ttft_ms", ToJson(report.first_token, kMilliseconds)},
              {"tpot_ms", ToJson(report.per_output_token, kMilliseconds)},
              {"itl_ms", ToJson(report.inter_token, kMilliseconds)},
              {"e2e_ms", ToJson(report.end_to_end, kMilliseconds)},
              {"cache_used_bytes", ToJson(report.used_bytes, kBytes)},
              {"cache_full_bytes", ToJson(report.full_bytes, kBytes)}};
  if (options.pace.rate > 0) out["lag_ms"] = ToJson(report.lag, kMilliseconds);
  out["asked"] = {{"sessions", options.sessions}, {"concurrency", options.concurrency},
                  {"turns", options.turns},       {"rate", options.pace.rate},
                  {"seed", options.seed},         {"retries", options.retries}};
  return out;
}

}  // namespace concertina::cli
