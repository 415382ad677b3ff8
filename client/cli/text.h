#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "client/conversation.h"

namespace concertina::cli {

// Text of a model or server without control characters (tab and newline stay): they could move the
// cursor or rename the window. Replaced by U+FFFD.
std::string PrintableText(std::string_view text);

// "1,234,567".
std::string FormatCount(int64_t count);
// "864.0 KiB", "4.2 MiB", "512 B".
std::string FormatBytes(int64_t bytes);

// Sums over the layers of a fold.
struct FoldTotals {
  int64_t entries_before = 0;
  int64_t entries_after = 0;
  int64_t bytes_before = 0;
  int64_t bytes_after = 0;
  double mass_kept = 0;  // mean over the layers
};
FoldTotals TotalsOf(const v1::Folded& folded);

// Used bytes as a share of what a full cache of the same tokens would use.
double CacheRatio(const v1::CacheState& cache);

// Seconds of a protobuf duration.
double Seconds(const google::protobuf::Duration& duration);

// What a turn did to the cache, and how fast, in one line: "cache 3,690 → 720 entries, ...".
// Without times if the answer was stopped.
std::string CacheLine(const client::Answer& answer);

// What a probe found, in one line: "quality 7 of 8 agree, KL 0.031, mass kept at least 0.710 (layer
// 4), budget raised". Empty without a probe.
std::string QualityLine(const v1::Quality& quality);

// "busy", "idle", or "evicted" (idle, and its cache was given up).
const char* StateName(const v1::Session& session);

// A session and its cache, several lines.
std::string SessionText(const v1::Session& session);

// The cache line as it is printed to stdout: dim in a terminal.
void PrintDim(std::string_view line);

// The whole file. INVALID_ARGUMENT, naming the path, if it cannot be read or is larger than
// bytes_max.
absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t bytes_max);

inline constexpr int64_t kMaxImageBytes = 8 << 20;  // what a server takes at most

}  // namespace concertina::cli
