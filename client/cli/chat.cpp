#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/budget_text.h"
#include "client/cli/interrupts.h"
#include "client/cli/invocation.h"
#include "client/cli/json.h"
#include "client/cli/line_reader.h"
#include "client/cli/session_options.h"
#include "client/cli/text.h"
#include "client/cli/turn.h"
#include "client/errors.h"

namespace concertina::cli {
namespace {

constexpr char kHelp[] =
    "/image PATH    add a picture to the next message\n"
    "/pin           keep the next message, its pictures too, in the cache\n"
    "/budget B      change the cache budget: 0.2 (of the tokens), 256t or 64MiB\n"
    "/stats         the session and its cache\n"
    "/undo          forget the last turn\n"
    "/fork          go on in a copy of this conversation\n"
    "/back          end the copy and return to the original\n"
    "/clear         end this session and begin a new one\n"
    "/help          this text\n"
    "/quit          leave (also Ctrl-D, or Ctrl-C at the prompt)\n"
    "Ctrl-C stops an answer; the session goes on. A message that begins with / needs a space "
    "first.\n";

struct ChatFlags {
  ConversationFlags conversation;
  std::vector<std::string> images;
};

// The session of a chat and what its lines do to it.
class Chat {
 public:
  Chat(const Invocation& invocation, const ChatFlags& flags)
      : invocation_(invocation), flags_(flags), server_(invocation.Connect()) {}

  // Reads lines until the end; returns the exit code.
  int Run(Interrupts& interrupts);

 private:
  absl::Status Open();
  absl::Status Clear();
  absl::Status AddImage(const std::string& path);
  absl::Status SetBudget(const std::string& text);
  absl::Status PrintStats();
  absl::Status Undo();
  absl::Status Fork();
  absl::Status Back();
  // Ends every session but one that was there before; returns the exit code.
  int Leave(int exit_code);
  absl::Status Say(const std::string& line, Interrupts& interrupts);
  // One line: a command or a message. Sets done_ for /quit.
  absl::Status Handle(const std::string& line, Interrupts& interrupts);
  void Note(const std::string& text) const;

  const Invocation& invocation_;
  const ChatFlags& flags_;
  std::unique_ptr<client::Client> server_;
  client::Conversation& conversation() { return conversations_.back(); }
  std::vector<client::Conversation> conversations_;  // each a copy of the one before it
  bool attached_ = false;                            // the first was there before
  std::vector<v1::InputPart> pending_;               // pictures of the next message
  bool pin_ = false;                                 // the next message
  bool stopped_ = false;                             // the last answer, by a signal
  bool done_ = false;
};

void Chat::Note(const std::string& text) const {
  if (!invocation_.json) PrintDim(text);
}

absl::Status Chat::Open() {
  auto conversation = server_->Open(flags_.conversation.Open());
  if (!conversation.ok()) return conversation.status();
  conversations_.push_back(*std::move(conversation));
  pending_.clear();
  pin_ = false;
  return absl::OkStatus();
}

absl::Status Chat::Clear() {
  // A session the server has lost is as good as closed.
  const auto closed = conversation().Close();
  if (!closed.ok()) return closed.status();
  conversations_.pop_back();
  attached_ = attached_ && !conversations_.empty();
  if (auto status = Open(); !status.ok()) {
    done_ = true;
    return status;
  }
  Note("new session");
  return absl::OkStatus();
}

absl::Status Chat::AddImage(const std::string& path) {
  if (path.empty()) return absl::InvalidArgumentError("/image needs a path");
  const auto bytes = ReadFile(path, kMaxImageBytes);
  if (!bytes.ok()) return bytes.status();
  const auto file = server_->UploadImage(*bytes, conversation().id());
  if (!file.ok()) return file.status();
  pending_.push_back(client::UploadedImage(file->sha256()));
  Note(absl::StrCat(path, ": ", file->width(), " x ", file->height(),
                    ", goes with the next message"));
  return absl::OkStatus();
}

absl::Status Chat::SetBudget(const std::string& text) {
  const auto budget = client::ParseBudget(text);
  if (!budget.ok()) return budget.status();
  const auto session = conversation().SetBudget(*budget);
  if (!session.ok()) return session.status();
  Note(absl::StrCat("budget ", client::FormatBudget(session->cache().budget()), ": ",
                    FormatCount(session->cache().budget_entries()), " entries"));
  return absl::OkStatus();
}

absl::Status Chat::PrintStats() {
  const auto session = conversation().Info();
  if (!session.ok()) return session.status();
  if (invocation_.json) {
    PrintJson(ToJson(*session));
  } else {
    std::fputs(SessionText(*session).c_str(), stdout);
    std::fflush(stdout);
  }
  return absl::OkStatus();
}

absl::Status Chat::Undo() {
  const auto before = conversation().Info();
  if (!before.ok()) return before.status();
  if (before->turns() == 0) return absl::FailedPreconditionError("there is no turn to forget");
  const auto after = conversation().Truncate(before->turns() - 1);
  if (!after.ok()) return after.status();
  Note(absl::StrCat("turns: ", after->turns()));
  return absl::OkStatus();
}

absl::Status Chat::Fork() {
  auto copy = conversation().Fork();
  if (!copy.ok()) return copy.status();
  conversations_.push_back(*std::move(copy));
  Note(absl::StrCat("session ", conversation().id(), ", a copy; /back returns"));
  return absl::OkStatus();
}

absl::Status Chat::Back() {
  if (conversations_.size() < 2) return absl::FailedPreconditionError("this is not a copy");
  const auto closed = conversation().Close();
  if (!closed.ok()) return closed.status();
  conversations_.pop_back();
  Note(absl::StrCat("session ", conversation().id()));
  return absl::OkStatus();
}

int Chat::Leave(int exit_code) {
  if (attached_) conversations_.front().Release();
  for (auto& conversation : conversations_) {
    const auto closed = conversation.Close();
    if (!closed.ok() && exit_code == kExitOk) exit_code = Fail(invocation_, closed.status());
  }
  return exit_code;
}

absl::Status Chat::Say(const std::string& line, Interrupts& interrupts) {
  std::vector<v1::InputPart> parts = pending_;
  parts.push_back(client::Text(line));
  for (v1::InputPart& part : parts) part.set_pin(pin_);
  const auto answer =
      RunTurn(conversation(), parts, flags_.conversation.ask, !invocation_.json, interrupts);
  stopped_ = answer.ok() && answer->stopped;
  if (!answer.ok()) return answer.status();
  pending_.clear();
  pin_ = false;
  if (invocation_.json) PrintJson(ToJson(*answer));
  Note(CacheLine(*answer));
  const std::string quality = QualityLine(answer->completed.quality());
  if (!quality.empty()) Note(quality);
  return absl::OkStatus();
}

absl::Status Chat::Handle(const std::string& line, Interrupts& interrupts) {
  const std::string message(absl::StripAsciiWhitespace(line));
  if (message.empty()) return absl::OkStatus();
  if (!line.starts_with('/')) return Say(message, interrupts);
  const size_t space = message.find_first_of(" \t");
  const std::string command = message.substr(0, space);
  const std::string argument(absl::StripAsciiWhitespace(
      space == std::string::npos ? std::string() : message.substr(space)));
  if (command == "/image") return AddImage(argument);
  if (command == "/budget") return SetBudget(argument);
  if (command == "/pin") {
    pin_ = true;
    Note("the next message stays in the cache");
    return absl::OkStatus();
  }
  if (command == "/stats") return PrintStats();
  if (command == "/undo") return Undo();
  if (command == "/fork") return Fork();
  if (command == "/back") return Back();
  if (command == "/clear") return Clear();
  if (command == "/help") {
    std::fputs(kHelp, invocation_.json ? stderr : stdout);
    return absl::OkStatus();
  }
  if (command == "/quit" || command == "/exit") {
    done_ = true;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown command ", command, ": /help lists them"));
}

int Chat::Run(Interrupts& interrupts) {
  auto first = flags_.conversation.Begin(*server_);
  if (!first.ok()) return Fail(invocation_, first.status());
  attached_ = !flags_.conversation.session_id.empty();
  conversations_.push_back(*std::move(first));
  int exit_code = kExitOk;
  bool interrupted = false;
  const auto lines = MakeLineReader(interrupts);
  if (lines->interactive()) {
    Note(absl::StrCat("session ", conversation().id(), "; /help lists the commands"));
  }
  for (const std::string& path : flags_.images) {
    if (auto status = AddImage(path); !status.ok()) exit_code = Fail(invocation_, status);
  }
  while (!done_ && !interrupts.leaving()) {
    std::string line;
    // A Ctrl-C just before the prompt was meant for the answer, unless that was stopped by one.
    if (!stopped_) interrupts.DropCtrlC();
    const LineStatus read = lines->Read(&line);
    if (read != LineStatus::kLine) {
      if (lines->interactive()) std::fputs("\n", stdout);
      interrupted = read == LineStatus::kInterrupted;
      break;
    }
    const absl::Status status = Handle(line, interrupts);
    // In a terminal the person has seen it; a script must learn of it.
    if (!status.ok()) {
      const int failed = Fail(invocation_, status);
      if (!lines->interactive()) exit_code = failed;
      if (client::DetailsOf(status).reason == "SESSION_NOT_FOUND") Note("/clear begins a new one");
    }
  }
  exit_code = Leave(exit_code);
  interrupted = interrupted || interrupts.leaving();
  // For a person Ctrl-C is a way out like any other.
  return interrupted && !lines->interactive() ? kExitInterrupted : exit_code;
}

}  // namespace

void AddChat(CLI::App& app, Invocation& invocation) {
  auto* command = app.add_subcommand("chat", "Holds a conversation; /help lists its commands");
  const auto flags = std::make_shared<ChatFlags>();
  flags->conversation.AddTo(*command);
  flags->conversation.AddSessionTo(*command);
  command->add_option("--image", flags->images, "A picture for the first message (repeatable)")
      ->allow_extra_args(false);
  command->callback([&invocation, flags] {
    invocation.run = [&invocation, flags] {
      Interrupts interrupts;
      return Chat(invocation, *flags).Run(interrupts);
    };
  });
}

}  // namespace concertina::cli
