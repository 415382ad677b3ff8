#include "client/cli/turn.h"

#include <cstdio>
#include <string>

#include "client/cli/text.h"

namespace concertina::cli {

absl::StatusOr<client::Answer> RunTurn(client::Conversation& conversation,
                                       const std::vector<v1::InputPart>& parts,
                                       const client::AskOptions& options, bool stream,
                                       Interrupts& interrupts) {
  const Interrupts::Watch watch(interrupts, [&] { conversation.Cancel(); });
  bool in_line = false;
  const auto print = [&](std::string_view text) {
    if (!stream) return true;
    const std::string printable = PrintableText(text);
    in_line = !printable.ends_with('\n');
    std::fputs(printable.c_str(), stdout);
    return std::fflush(stdout) == 0;
  };
  auto answer = conversation.Ask(parts, options, print);
  if (in_line) std::fputs("\n", stdout);
  std::fflush(stdout);
  return answer;
}

}  // namespace concertina::cli
