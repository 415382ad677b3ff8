#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace concertina::eval {

// Members of a record. Null is as good as absent. INVALID_ARGUMENT says which member must be what.

// The member, or null if it is absent.
const nlohmann::json& Member(const nlohmann::json& object, const std::string& name);

absl::StatusOr<std::string> TextOr(const nlohmann::json& object, const std::string& name,
                                   const std::string& otherwise);
absl::StatusOr<bool> FlagOr(const nlohmann::json& object, const std::string& name, bool otherwise);
absl::StatusOr<std::optional<double>> OptionalNumber(const nlohmann::json& object,
                                                     const std::string& name);
absl::StatusOr<std::optional<std::string>> OptionalText(const nlohmann::json& object,
                                                        const std::string& name);
// A text, or a list of texts, none of them empty.
absl::StatusOr<std::vector<std::string>> Texts(const nlohmann::json& object,
                                               const std::string& name);
absl::StatusOr<int32_t> TokenId(const nlohmann::json& object, const std::string& name);
// Empty if the member is absent.
absl::StatusOr<std::vector<int32_t>> TokenIds(const nlohmann::json& object,
                                              const std::string& name);

absl::Status MustBe(const std::string& name, const std::string& what);

}  // namespace concertina::eval
