#include "client/cli/text.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "client/budget_text.h"

namespace concertina::cli {
namespace {

constexpr char kReplacement[] = "\xef\xbf\xbd";  // U+FFFD

bool IsControl(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f;
}

}  // namespace

std::string PrintableText(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    // U+0080 to U+009F: some terminals take them for escape sequences.
    const bool c1 =
        text[i] == '\xc2' && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (c1) ++i;
    if (c1 || IsControl(text[i])) {
      out += kReplacement;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string FormatCount(int64_t count) {
  const std::string digits = absl::StrCat(count);
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    const bool after_digit = i > 0 && digits[i - 1] != '-';
    if (after_digit && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string FormatBytes(int64_t bytes) {
  constexpr std::array<const char*, 4> kUnits{"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.1f %s", value, kUnits[unit]);
}

FoldTotals TotalsOf(const v1::Folded& folded) {
  FoldTotals totals;
  for (const auto& layer : folded.layers()) {
    totals.entries_before += layer.entries_before();
    totals.entries_after += layer.entries_after();
    totals.bytes_before += layer.bytes_before();
    totals.bytes_after += layer.bytes_after();
    totals.mass_kept += layer.attention_mass_kept();
  }
  if (folded.layers_size() > 0) totals.mass_kept /= folded.layers_size();
  return totals;
}

double CacheRatio(const v1::CacheState& cache) {
  if (cache.full_bytes() <= 0) return 1.0;
  return static_cast<double>(cache.used_bytes()) / static_cast<double>(cache.full_bytes());
}

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + duration.nanos() * 1e-9;
}

std::string CacheLine(const client::Answer& answer) {
  std::string line = "cache not folded";
  if (answer.folded.has_value()) {
    const FoldTotals totals = TotalsOf(*answer.folded);
    line = absl::StrFormat("cache %s → %s entries, %s → %s, ratio %.3f of full, mass kept %.3f",
                           FormatCount(totals.entries_before), FormatCount(totals.entries_after),
                           FormatBytes(totals.bytes_before), FormatBytes(totals.bytes_after),
                           CacheRatio(answer.folded->cache()), totals.mass_kept);
  }
  if (answer.stopped) return absl::StrCat(line, ", stopped");
  const v1::Timings& timings = answer.completed.timings();
  return absl::StrFormat("%s, first token %.2f s, %.1f tok/s", line,
                         Seconds(timings.time_to_first_token()), timings.tokens_per_second());
}

// What the session does with its turns, where it is not the usual.
std::string TurnsText(const v1::CachePolicy& policy) {
  std::string text;
  if (policy.turn_fold() == v1::TURN_FOLD_ISOLATE) text += ", turns isolated";
  if (policy.turn_fold() == v1::TURN_FOLD_FAIR) text += ", turns fair";
  if (policy.pin_system_prompt()) text += ", system prompt pinned";
  if (policy.image_budget() > 0) {
    absl::StrAppend(&text, ", pictures at most ", policy.image_budget());
    if (policy.merge_images()) text += ", merged";
  }
  return text;
}

std::string QualityLine(const v1::Quality& quality) {
  if (!quality.has_probe()) return {};
  const v1::Probe& probe = quality.probe();
  std::string line =
      absl::StrFormat("quality %.0f of %d agree, KL %.3g", probe.agreement() * probe.tokens(),
                      probe.tokens(), probe.kl_divergence());
  if (quality.has_lowest_attention_mass_kept()) {
    absl::StrAppendFormat(&line, ", mass kept at least %.3f (layer %d)",
                          quality.lowest_attention_mass_kept(), quality.lowest_layer());
  }
  if (quality.raised_for_quality()) line += ", budget raised";
  if (quality.below_min_quality()) line += ", below the floor";
  return line;
}

const char* StateName(const v1::Session& session) {
  if (session.state() == v1::SESSION_STATE_BUSY) return "busy";
  return session.evicted() ? "evicted" : "idle";
}

std::string SessionText(const v1::Session& session) {
  const v1::CacheState& cache = session.cache();
  std::string text =
      absl::StrFormat("session   %s (%s, turns: %d)\n", PrintableText(session.session_id()),
                      StateName(session), session.turns());
  absl::StrAppendFormat(&text, "policy    %s%s, budget %s%s\n",
                        PrintableText(session.policy().name()), TurnsText(session.policy()),
                        client::FormatBudget(cache.budget()),
                        cache.raised_to_floor() ? " (raised to two entries per head)" : "");
  absl::StrAppendFormat(&text, "seen      %s tokens\n", FormatCount(cache.tokens_seen()));
  absl::StrAppendFormat(&text, "entries   %s of %s granted\n", FormatCount(cache.live_entries()),
                        FormatCount(cache.budget_entries()));
  absl::StrAppendFormat(&text, "used      %s (%s payload), ratio %.3f of a full cache's %s\n",
                        FormatBytes(cache.used_bytes()), FormatBytes(cache.payload_bytes()),
                        CacheRatio(cache), FormatBytes(cache.full_bytes()));
  if (cache.shared_bytes() > 0) {
    absl::StrAppendFormat(&text, "shared    %s with forks\n", FormatBytes(cache.shared_bytes()));
  }
  absl::StrAppendFormat(&text, "record    %s\n", FormatBytes(session.transcript_bytes()));
  if (session.has_expire_time()) {
    const absl::Time expire = absl::FromUnixSeconds(session.expire_time().seconds());
    absl::StrAppendFormat(&text, "expires   %s\n",
                          absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", expire, absl::UTCTimeZone()));
  }
  return text;
}

void PrintDim(std::string_view line) {
  const bool dim = isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
  std::printf(dim ? "\x1b[2m%s\x1b[0m\n" : "%s\n", std::string(line).c_str());
  std::fflush(stdout);
}

absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t bytes_max) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat("cannot read ", path));
  }
  if (info.st_size > bytes_max) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is larger than ", FormatBytes(bytes_max)));
  }
  std::ifstream file(path, std::ios::binary);
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  if (!file.read(bytes.data(), info.st_size)) {
    return absl::InvalidArgumentError(absl::StrCat("cannot read ", path));
  }
  return bytes;
}

}  // namespace concertina::cli
