#include "server/app/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"

namespace concertina {
namespace {

struct Unit {
  std::string_view name;
  int64_t bytes;
};
constexpr std::array<Unit, 4> kUnits{
    {{"GiB", int64_t{1} << 30}, {"MiB", int64_t{1} << 20}, {"KiB", int64_t{1} << 10}, {"B", 1}}};

struct TimeUnit {
  std::string_view name;
  int64_t ms;
};
// "ms" before the others: they are the end of a text, too.
constexpr std::array<TimeUnit, 4> kTimeUnits{
    {{"ms", 1}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1000}}};
constexpr double kYearMs = 366.0 * 24 * 3'600'000;

template <typename Number>
std::optional<Number> ParseNumber(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// The number before a byte unit, in bytes; empty if there is no unit.
std::optional<absl::StatusOr<int64_t>> ParseWithUnit(std::string_view text) {
  for (const Unit& unit : kUnits) {
    if (!text.ends_with(unit.name)) continue;
    const auto count = ParseNumber<int64_t>(text.substr(0, text.size() - unit.name.size()));
    if (!count.has_value() || *count < 1 ||
        *count > std::numeric_limits<int64_t>::max() / unit.bytes) {
      return absl::InvalidArgumentError("not a size: use for example 512MiB or 2GiB");
    }
    return *count * unit.bytes;
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<int64_t> ParseBytes(std::string_view text) {
  if (auto with_unit = ParseWithUnit(text); with_unit.has_value()) return *with_unit;
  const auto count = ParseNumber<int64_t>(text);
  if (!count.has_value() || *count < 1) {
    return absl::InvalidArgumentError("not a size: use for example 512MiB or 2GiB");
  }
  return *count;
}

std::string FormatBytes(int64_t bytes) {
  for (const Unit& unit : kUnits) {
    if (bytes % unit.bytes == 0 && bytes != 0) {
      return absl::StrCat(bytes / unit.bytes, std::string(unit.name));
    }
  }
  return absl::StrCat(bytes, "B");
}

absl::StatusOr<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  int64_t unit_ms = 1000;
  for (const TimeUnit& unit : kTimeUnits) {
    if (!text.ends_with(unit.name)) continue;
    unit_ms = unit.ms;
    text.remove_suffix(unit.name.size());
    break;
  }
  const auto count = ParseNumber<double>(text);
  const double ms = count.value_or(-1) * static_cast<double>(unit_ms);
  if (!(ms >= 0 && ms <= kYearMs)) {
    return absl::InvalidArgumentError("not a time: use for example 500ms, 30s, 5m or 2h");
  }
  return std::chrono::milliseconds(std::llround(ms));
}

std::string FormatDuration(std::chrono::milliseconds duration) {
  const int64_t ms = duration.count();
  if (ms == 0) return "0";
  for (const std::string_view name : {"h", "m", "s"}) {
    for (const TimeUnit& unit : kTimeUnits) {
      if (unit.name == name && ms % unit.ms == 0) {
        return absl::StrCat(ms / unit.ms, std::string(name));
      }
    }
  }
  return absl::StrCat(ms, "ms");
}

absl::StatusOr<Budget> ParseBudgetText(std::string_view text) {
  const absl::Status usage =
      absl::InvalidArgumentError("not a budget: use a ratio (0.2), tokens (256t) or bytes (64MiB)");
  Budget budget;
  if (auto with_unit = ParseWithUnit(text); with_unit.has_value()) {
    if (!with_unit->ok()) return usage;
    budget = Budget::Bytes(**with_unit);
  } else if (text.ends_with('t')) {
    const auto tokens = ParseNumber<int64_t>(text.substr(0, text.size() - 1));
    if (!tokens.has_value()) return usage;
    budget = Budget::Tokens(*tokens);
  } else {
    const auto ratio = ParseNumber<double>(text);
    if (!ratio.has_value()) return usage;
    budget = Budget::Ratio(*ratio);
  }
  if (!ValidateBudget(budget).ok()) return usage;
  return budget;
}

std::string FormatBudget(const Budget& budget) {
  switch (budget.unit) {
    case Budget::Unit::kRatio:
      return absl::StrCat(budget.ratio);
    case Budget::Unit::kTokens:
      return absl::StrCat(budget.tokens, "t");
    case Budget::Unit::kBytes:
      break;
  }
  return FormatBytes(budget.bytes);
}

}  // namespace concertina
