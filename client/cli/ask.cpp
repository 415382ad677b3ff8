#include <cstdio>
#include <string>
#include <vector>

#include "client/cli/interrupts.h"
#include "client/cli/invocation.h"
#include "client/cli/json.h"
#include "client/cli/session_options.h"
#include "client/cli/text.h"
#include "client/cli/turn.h"

namespace concertina::cli {
namespace {

struct AskFlags {
  ConversationFlags conversation;
  std::vector<std::string> images;
  std::string question;
  bool pin_images = false;
  bool pin_question = false;
  bool keep = false;
};

int Run(const Invocation& invocation, const AskFlags& flags) {
  std::vector<v1::InputPart> parts;
  for (const std::string& path : flags.images) {
    auto bytes = ReadFile(path, kMaxImageBytes);
    if (!bytes.ok()) {
      Fail(invocation, bytes.status());
      return kExitUsage;
    }
    parts.push_back(client::ImageFile(*std::move(bytes)));
    parts.back().set_pin(flags.pin_images);
  }
  parts.push_back(client::Text(flags.question));
  parts.back().set_pin(flags.pin_question);
  Interrupts interrupts;
  const auto server = invocation.Connect();
  auto conversation = flags.conversation.Begin(*server);
  if (!conversation.ok()) return Fail(invocation, conversation.status());
  const auto answer =
      RunTurn(*conversation, parts, flags.conversation.ask, !invocation.json, interrupts);
  if (flags.keep || !flags.conversation.session_id.empty()) conversation->Release();
  const auto closed = conversation->Close();
  if (!answer.ok()) return Fail(invocation, answer.status());
  if (invocation.json) {
    nlohmann::json out = ToJson(*answer);
    out["session_id"] = conversation->id();
    PrintJson(out);
  }
  if (flags.keep && !invocation.json) PrintDim("session " + conversation->id());
  if (answer->stopped) return kExitInterrupted;
  return closed.ok() ? kExitOk : Fail(invocation, closed.status());
}

}  // namespace

void AddAsk(CLI::App& app, Invocation& invocation) {
  auto* command = app.add_subcommand("ask", "Asks one question, in a session of its own");
  const auto flags = std::make_shared<AskFlags>();
  flags->conversation.AddTo(*command);
  flags->conversation.AddSessionTo(*command);
  command->add_flag("--keep", flags->keep, "Leave the session open and print its id");
  command
      ->add_option("--expected-turn", flags->conversation.ask.expected_turn,
                   "Refuse if the session does not have so many finished turns")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--image", flags->images, "A picture, before the question (repeatable)")
      ->allow_extra_args(false);
  command->add_flag("--pin-images", flags->pin_images, "Keep the pictures in the cache");
  command->add_flag("--pin-question", flags->pin_question, "Keep the question in the cache");
  command->add_option("question", flags->question, "The question")->required();
  command->callback([&invocation, flags] {
    invocation.run = [&invocation, flags] { return Run(invocation, *flags); };
  });
}

}  // namespace concertina::cli
