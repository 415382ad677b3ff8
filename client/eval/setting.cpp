#include "client/eval/setting.h"

#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "client/budget_text.h"

namespace concertina::eval {
namespace {

constexpr char kFull[] = "full";
constexpr char kDefault[] = "default";

Setting Reference() {
  Setting setting{
      .policy_name = kFull, .budget_name = "1", .entry_type = kDefault, .reference = true};
  setting.policy.set_name(kFull);
  setting.budget.set_ratio(1.0);
  return setting;
}

// "concertina:entries=packed" is the policy "concertina" with entries of that type, any other one
// has those of `entry_types`.
std::pair<std::string, std::vector<std::string>> SplitOffEntries(
    const std::string& text, std::vector<std::string> entry_types) {
  std::vector<std::string> rest;
  for (const absl::string_view word : absl::StrSplit(text, ':')) {
    absl::string_view type = word;
    if (absl::ConsumePrefix(&type, "entries=")) {
      entry_types = {std::string(type)};
    } else {
      rest.emplace_back(word);
    }
  }
  return {absl::StrJoin(rest, ":"), std::move(entry_types)};
}

}  // namespace

std::string Setting::Name() const {
  std::string name = absl::StrCat(policy_name, " ", budget_name);
  if (entry_type != kDefault) absl::StrAppend(&name, " ", entry_type);
  if (fold == v1::SCORE_FOLD_DECODE) absl::StrAppend(&name, " decode");
  return name;
}

std::string Setting::LineName() const {
  return entry_type == kDefault ? policy_name : absl::StrCat(policy_name, " ", entry_type);
}

absl::StatusOr<v1::EntryType> ParseEntryType(const std::string& text) {
  if (text == kDefault) return v1::ENTRY_TYPE_UNSPECIFIED;
  v1::EntryType type = v1::ENTRY_TYPE_UNSPECIFIED;
  if (v1::EntryType_Parse("ENTRY_TYPE_" + absl::AsciiStrToUpper(text), &type) &&
      type != v1::ENTRY_TYPE_UNSPECIFIED) {
    return type;
  }
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is no entry type"));
}

absl::StatusOr<v1::CachePolicy> ParsePolicy(const std::string& text) {
  const std::vector<std::string> words = absl::StrSplit(text, ':');
  v1::CachePolicy policy;
  if (words.front().empty()) return absl::InvalidArgumentError("a policy has no name");
  policy.set_name(words.front());
  for (size_t i = 1; i < words.size(); ++i) {
    const std::vector<std::string> pair = absl::StrSplit(words[i], absl::MaxSplits('=', 1));
    v1::MergeMode merge = v1::MERGE_MODE_UNSPECIFIED;
    double image_budget = 0;
    if (words[i] == "pure-sink") {
      policy.set_pure_sink(true);
    } else if (words[i] == "adaptive-heads") {
      policy.set_adaptive_heads(true);
    } else if (words[i] == "merge-images") {
      policy.set_merge_images(true);
    } else if (pair.size() == 2 && pair[0] == "images" &&
               absl::SimpleAtod(pair[1], &image_budget) && image_budget > 0 && image_budget <= 1) {
      policy.set_image_budget(image_budget);
    } else if (pair.size() == 2 && pair[0] == "merge" &&
               v1::MergeMode_Parse("MERGE_MODE_" + absl::AsciiStrToUpper(pair[1]), &merge)) {
      policy.set_merge(merge);
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", words[i], "\" of \"", text, "\" is no option of a policy"));
    }
  }
  return policy;
}

absl::StatusOr<std::vector<Setting>> MakeSettings(const SettingChoices& choices) {
  std::vector<Setting> settings{Reference()};
  std::set<std::string> names;
  for (const std::string& text : choices.policies) {
    const auto [policy_name, entry_types] = SplitOffEntries(text, choices.entry_types);
    const auto policy = ParsePolicy(policy_name);
    if (!policy.ok()) return policy.status();
    const bool full = policy->name() == kFull;
    for (const std::string& entry_type : entry_types) {
      const auto type = ParseEntryType(entry_type);
      if (!type.ok()) return type.status();
      if (full && entry_type == kDefault) continue;  // the reference
      const std::vector<std::string> budgets =
          full ? std::vector<std::string>{"1"} : choices.budgets;
      for (const std::string& budget_name : budgets) {
        auto budget = client::ParseBudget(budget_name);
        if (!budget.ok()) return budget.status();
        Setting setting{.policy_name = policy_name,
                        .budget_name = budget_name,
                        .entry_type = entry_type,
                        .policy = *policy,
                        .budget = *std::move(budget),
                        .fold = choices.fold};
        setting.policy.set_entry_type(*type);
        if (names.insert(setting.Name()).second) settings.push_back(std::move(setting));
      }
    }
  }
  return settings;
}

}  // namespace concertina::eval
