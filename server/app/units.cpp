#include "server/app/units.h"

#include <array>
#include <charconv>
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
  for (const Unit& unit : kUnits) {
    if (budget.bytes % unit.bytes == 0) {
      return absl::StrCat(budget.bytes / unit.bytes, std::string(unit.name));
    }
  }
  return absl::StrCat(budget.bytes, "B");
}

}  // namespace concertina
