#pragma once

#include "absl/status/status.h"
#include "client/conversation.h"
#include "concertina/v1/admin_service.pb.h"
#include "concertina/v1/inference_service.pb.h"
#include "nlohmann/json.hpp"

namespace concertina::cli {

// The API's messages as JSON for scripts: numbers as numbers, enums in lower case without prefix,
// durations in seconds.
nlohmann::json ToJson(const absl::Status& status);
nlohmann::json ToJson(const v1::CacheState& cache);
nlohmann::json ToJson(const v1::CachePolicy& policy);
nlohmann::json ToJson(const v1::Session& session);
nlohmann::json ToJson(const v1::Folded& folded);  // sums over the layers
nlohmann::json ToJson(const v1::GetModelResponse& model);
// "all", "decode", "prefill", "vision".
std::string RoleName(v1::WeightRole role);
nlohmann::json ToJson(const v1::GetLoadResponse& load);
nlohmann::json ToJson(const client::Answer& answer);

// One line on stdout. Bytes that are not UTF-8 are replaced.
void PrintJson(const nlohmann::json& json);

}  // namespace concertina::cli
