#include "client/cli/prompt_file.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace concertina::cli {
namespace {

using nlohmann::json;

absl::Status Wrong(size_t element, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("prompt ", element, ": ", what));
}

bool ParseIds(const json& list, std::vector<int32_t>* ids) {
  if (!list.is_array()) return false;
  for (const json& id : list) {
    if (!id.is_number_integer()) return false;
    const auto value = id.get<int64_t>();
    if (value < 0 || value > std::numeric_limits<int32_t>::max()) return false;
    ids->push_back(static_cast<int32_t>(value));
  }
  return true;
}

// Empty if the element has nothing to score.
absl::StatusOr<std::optional<ReplayPrompt>> ParseElement(const json& element, size_t number) {
  if (!element.is_object()) return Wrong(number, "must be an object");
  ReplayPrompt out;
  const auto task = element.find("task");
  if (task == element.end() || !task->is_string()) return Wrong(number, "task must be a string");
  out.task = task->get<std::string>();
  const auto index = element.find("i");
  out.index = static_cast<int64_t>(number);
  if (index != element.end()) {
    if (!index->is_number_integer()) return Wrong(number, "i must be an integer");
    out.index = index->get<int64_t>();
  }
  const auto prompt = element.find("prompt");
  if (prompt == element.end() || !ParseIds(*prompt, &out.prompt) || out.prompt.empty()) {
    return Wrong(number, "prompt must be a list of token ids");
  }
  const auto answer = element.find("ans");
  if (answer == element.end() || answer->is_null()) return std::nullopt;
  if (!ParseIds(*answer, &out.answer)) return Wrong(number, "ans must be a list of token ids");
  const auto full_nll = element.find("full_nll");
  if (full_nll != element.end() && !full_nll->is_null()) {
    if (!full_nll->is_number()) return Wrong(number, "full_nll must be a number");
    out.full_nll = full_nll->get<double>();
  }
  if (out.answer.size() < 2) return std::nullopt;
  return out;
}

}  // namespace

absl::StatusOr<ReplayFile> ParseReplayFile(std::string_view text) {
  const json list = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!list.is_array()) return absl::InvalidArgumentError("must be a JSON list of prompts");
  ReplayFile file;
  for (size_t i = 0; i < list.size(); ++i) {
    auto prompt = ParseElement(list[i], i);
    if (!prompt.ok()) return prompt.status();
    if (prompt->has_value()) {
      file.prompts.push_back(**std::move(prompt));
    } else {
      ++file.skipped;
    }
  }
  if (file.prompts.empty()) return absl::InvalidArgumentError("no prompt has an answer to score");
  return file;
}

}  // namespace concertina::cli
