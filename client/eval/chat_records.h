#pragma once

#include "absl/status/statusor.h"
#include "client/eval/record.h"
#include "nlohmann/json.hpp"

namespace concertina::eval {

// A record of turns in text, or of one: {"image", "question", "answer"}, or {"prompt"}. Paths of
// pictures as they are there, images_apart not set.
absl::StatusOr<Chat> ParseChat(const nlohmann::json& record);

}  // namespace concertina::eval
