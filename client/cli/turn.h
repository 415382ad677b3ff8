#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/interrupts.h"
#include "client/conversation.h"

namespace concertina::cli {

// Asks one turn and, with `stream`, prints the words as they come and a newline at the end. A
// signal stops the answer. A closed stdout does too.
absl::StatusOr<client::Answer> RunTurn(client::Conversation& conversation,
                                       const std::vector<v1::InputPart>& parts,
                                       const client::AskOptions& options, bool stream,
                                       Interrupts& interrupts);

}  // namespace concertina::cli
