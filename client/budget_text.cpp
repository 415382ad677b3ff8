#include "client/budget_text.h"

#include <array>
#include <charconv>
#include <cstdint>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"

namespace concertina::client {
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

// At least 1, and its product with the unit fits 64 bits.
std::optional<int64_t> ParseCount(std::string_view text, int64_t unit) {
  const auto count = ParseNumber<int64_t>(text);
  if (!count.has_value() || *count < 1 || *count > std::numeric_limits<int64_t>::max() / unit) {
    return std::nullopt;
  }
  return *count * unit;
}

absl::Status Usage(std::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", std::string(text),
                   "\" is no budget: use a ratio (0.2), tokens (256t) or bytes (64MiB)"));
}

}  // namespace

absl::StatusOr<v1::Budget> ParseBudget(std::string_view text) {
  v1::Budget budget;
  for (const Unit& unit : kUnits) {
    if (!text.ends_with(unit.name)) continue;
    const auto bytes = ParseCount(text.substr(0, text.size() - unit.name.size()), unit.bytes);
    if (!bytes.has_value()) return Usage(text);
    budget.set_bytes(*bytes);
    return budget;
  }
  if (text.ends_with('t')) {
    const auto tokens = ParseCount(text.substr(0, text.size() - 1), 1);
    if (!tokens.has_value()) return Usage(text);
    budget.set_tokens(*tokens);
    return budget;
  }
  const auto ratio = ParseNumber<double>(text);
  // Written so that NaN fails.
  if (!ratio.has_value() || !(*ratio > 0.0 && *ratio <= 1.0)) return Usage(text);
  budget.set_ratio(*ratio);
  return budget;
}

std::string FormatBudget(const v1::Budget& budget) {
  switch (budget.unit_case()) {
    case v1::Budget::kRatio:
      return absl::StrCat(budget.ratio());
    case v1::Budget::kTokens:
      return absl::StrCat(budget.tokens(), "t");
    case v1::Budget::kBytes:
      break;
    case v1::Budget::UNIT_NOT_SET:
      return "default";
  }
  for (const Unit& unit : kUnits) {
    if (budget.bytes() % unit.bytes == 0) {
      return absl::StrCat(budget.bytes() / unit.bytes, std::string(unit.name));
    }
  }
  return absl::StrCat(budget.bytes(), "B");
}

}  // namespace concertina::client
