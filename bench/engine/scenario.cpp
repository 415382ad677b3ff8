#include "bench/engine/scenario.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace concertina::bench {

absl::StatusOr<Scenario> Scenario::Parse(std::string_view text) {
  Scenario scenario;
  const size_t colon = text.find(':');
  scenario.name_ = std::string(text.substr(0, colon));
  const auto wrong = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat("not NAME or NAME:KEY=VALUE,...: ", std::string(text)));
  };
  if (scenario.name_.empty()) return wrong();
  if (colon == std::string_view::npos) return scenario;
  const std::string list(text.substr(colon + 1));
  for (const auto pair : absl::StrSplit(list, ',')) {
    const std::pair<std::string, std::string> value = absl::StrSplit(pair, absl::MaxSplits('=', 1));
    if (value.first.empty() || value.second.empty() || !scenario.values_.insert(value).second) {
      return wrong();
    }
  }
  return scenario;
}

std::string Scenario::Text(const std::string& key, const std::string& otherwise) const {
  const auto found = values_.find(key);
  return found == values_.end() ? otherwise : found->second;
}

int Scenario::Int(const std::string& key, int otherwise) const {
  int value = 0;
  return absl::SimpleAtoi(Text(key, ""), &value) ? value : otherwise;
}

double Scenario::Real(const std::string& key, double otherwise) const {
  double value = 0;
  return absl::SimpleAtod(Text(key, ""), &value) ? value : otherwise;
}

}  // namespace concertina::bench
