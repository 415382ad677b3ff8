#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "models/language/language_config.h"
#include "server/app/server_config.h"

namespace concertina {

// What no setting can check alone. The texts name the settings.

// INVALID_ARGUMENT: settings contradict each other.
absl::Status CheckConfig(const ServerConfig& config);

// INVALID_ARGUMENT: the model cannot be served like this. `page_bytes`: PageBytesOf the model.
absl::Status CheckAgainstModel(const ServerConfig& config, const LanguageConfig& model,
                               int64_t page_bytes);

// What is legal but seldom meant.
std::vector<std::string> ConfigWarnings(const ServerConfig& config);

}  // namespace concertina
