#include <algorithm>

#include "absl/strings/str_cat.h"
#include "models/bundle/loaders.h"
#include "nlohmann/json.hpp"

namespace concertina {

absl::StatusOr<std::vector<TokenId>> ReadEndTokens(
    const std::vector<const nlohmann::json*>& configs, int32_t vocab) {
  std::vector<TokenId> tokens;
  for (const nlohmann::json* config : configs) {
    const auto field = config->find("eos_token_id");
    if (field == config->end() || field->is_null()) continue;
    nlohmann::json list = nlohmann::json::array();
    if (field->is_array()) {
      list = *field;
    } else {
      list.push_back(*field);
    }
    for (const nlohmann::json& id : list) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(vocab)) {
        return absl::InvalidArgumentError(
            absl::StrCat("eos_token_id must hold ids from 0 to ", vocab - 1));
      }
      AddEndToken(id.get<TokenId>(), &tokens);
    }
    break;
  }
  return tokens;
}

void AddEndToken(std::optional<TokenId> token, std::vector<TokenId>* tokens) {
  if (!token.has_value()) return;
  if (std::find(tokens->begin(), tokens->end(), *token) == tokens->end()) tokens->push_back(*token);
}

}  // namespace concertina
