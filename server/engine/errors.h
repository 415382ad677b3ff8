#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace concertina {

// Why a request failed, machine readable: travels as payloads of an absl::Status through the engine
// and becomes google.rpc details (ErrorInfo, BadRequest, RetryInfo, QuotaFailure) at the RPC edge.
namespace reason {
inline constexpr std::string_view kSessionNotFound = "SESSION_NOT_FOUND";
inline constexpr std::string_view kSessionExists = "SESSION_EXISTS";
inline constexpr std::string_view kSessionClosed = "SESSION_CLOSED";
inline constexpr std::string_view kTurnInFlight = "TURN_IN_FLIGHT";
inline constexpr std::string_view kTurnMismatch = "TURN_MISMATCH";
inline constexpr std::string_view kSessionLimit = "SESSION_LIMIT";
inline constexpr std::string_view kQueueFull = "QUEUE_FULL";
inline constexpr std::string_view kQueueTimeout = "QUEUE_TIMEOUT";
inline constexpr std::string_view kTranscriptLimit = "TRANSCRIPT_LIMIT";
inline constexpr std::string_view kPoolExhausted = "POOL_EXHAUSTED";
inline constexpr std::string_view kBudgetTooSmall = "BUDGET_TOO_SMALL";
inline constexpr std::string_view kPinsExceedBudget = "PINS_EXCEED_BUDGET";
inline constexpr std::string_view kContextExhausted = "CONTEXT_EXHAUSTED";
inline constexpr std::string_view kPromptTooLong = "PROMPT_TOO_LONG";
inline constexpr std::string_view kNoVision = "NO_VISION";
inline constexpr std::string_view kImageNotFound = "IMAGE_NOT_FOUND";
inline constexpr std::string_view kDraining = "DRAINING";
inline constexpr std::string_view kNotOnDevice = "NOT_ON_DEVICE";
}  // namespace reason

// INVALID_ARGUMENT about one field of the request ("parts[1].image.data").
absl::Status FieldError(std::string_view field, std::string_view message);

// The same, with a reason that tells this cause from others.
absl::Status FieldError(std::string_view field, std::string_view reason, std::string_view message);

// Any other refusal with its reason.
absl::Status ReasonError(absl::StatusCode code, std::string_view reason, std::string_view message);

// The same, with a hint when to try again.
absl::Status RetryLater(std::string_view reason, std::string_view message, int64_t retry_after_ms);

// What the functions above attached; empty when there is none.
std::string FieldOf(const absl::Status& status);
std::string ReasonOf(const absl::Status& status);
std::optional<int64_t> RetryAfterMsOf(const absl::Status& status);

}  // namespace concertina
