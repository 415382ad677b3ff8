#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/budget_text.h"
#include "client/cli/interrupts.h"
#include "client/cli/invocation.h"
#include "client/cli/json.h"
#include "client/cli/session_options.h"
#include "client/cli/text.h"
#include "client/cli/turn.h"
#include "client/cli/verify.h"

namespace concertina::cli {
namespace {

struct DemoFlags {
  ConversationFlags conversation;
  std::string image;
  std::string question = "Describe the image in detail.";
  // They suit docs/demo/scene.png.
  std::vector<std::string> follow_ups = {"Where is the carrot?", "How many carrots are there?"};
};

// One conversation about a picture, in which every promise of the service is checked.
class Demo {
 public:
  Demo(const Invocation& invocation, const DemoFlags& flags)
      : invocation_(invocation), flags_(flags), server_(invocation.Connect()) {}

  absl::Status Run(Interrupts& interrupts);
  const nlohmann::json& report() const { return report_; }

 private:
  absl::Status Upload(const std::string& session_id);
  absl::Status Turn(client::Conversation& conversation, const std::string& question,
                    Interrupts& interrupts);
  absl::Status Close(client::Conversation& conversation);
  void Print(const std::string& text) const;

  const Invocation& invocation_;
  const DemoFlags& flags_;
  std::unique_ptr<client::Client> server_;
  std::vector<v1::InputPart> pending_;
  int layers_ = 0;
  nlohmann::json report_ = {{"turns", nlohmann::json::array()}};
};

void Demo::Print(const std::string& text) const {
  if (!invocation_.json) std::printf("%s\n", PrintableText(text).c_str());
}

absl::Status Demo::Upload(const std::string& session_id) {
  const auto bytes = ReadFile(flags_.image, kMaxImageBytes);
  if (!bytes.ok()) return bytes.status();
  const auto file = server_->UploadImage(*bytes, session_id);
  if (!file.ok()) return file.status();
  Print(absl::StrCat("uploaded ", flags_.image, " (", file->width(), " x ", file->height(), ", ",
                     FormatBytes(file->bytes()), ")"));
  pending_.push_back(client::UploadedImage(file->sha256()));
  return absl::OkStatus();
}

absl::Status Demo::Turn(client::Conversation& conversation, const std::string& question,
                        Interrupts& interrupts) {
  const bool has_image = !pending_.empty();
  std::vector<v1::InputPart> parts = std::exchange(pending_, {});
  parts.push_back(client::Text(question));
  Print(absl::StrCat("\n> ", question));
  const auto answer =
      RunTurn(conversation, parts, flags_.conversation.ask, !invocation_.json, interrupts);
  if (!answer.ok()) return answer.status();
  if (!invocation_.json) PrintDim(CacheLine(*answer));
  const std::string quality = QualityLine(answer->completed.quality());
  if (!invocation_.json && !quality.empty()) PrintDim(quality);
  nlohmann::json turn = ToJson(*answer);
  turn["question"] = question;
  report_["turns"].push_back(std::move(turn));
  if (answer->stopped) return absl::CancelledError("interrupted");
  if (auto status = VerifyTurn(*answer, layers_); !status.ok()) return status;
  if (has_image && answer->completed.usage().image_tokens() <= 0) {
    return absl::FailedPreconditionError("the picture took no tokens");
  }
  return absl::OkStatus();
}

absl::Status Demo::Close(client::Conversation& conversation) {
  const auto closed = conversation.Close();
  if (!closed.ok()) return closed.status();
  if (!*closed) return absl::FailedPreconditionError("the session was lost before its end");
  const auto session = server_->GetSession(conversation.id());
  if (session.status().code() != absl::StatusCode::kNotFound) {
    return absl::FailedPreconditionError("the session is still there after closing it");
  }
  report_["closed"] = true;
  return absl::OkStatus();
}

absl::Status Demo::Run(Interrupts& interrupts) {
  auto conversation = server_->Open(flags_.conversation.Open());
  if (!conversation.ok()) return conversation.status();
  const auto model = server_->GetModel();
  if (!model.ok()) return model.status();
  layers_ = model->layers();
  const auto session = conversation->Info();
  if (!session.ok()) return session.status();
  report_["session"] = ToJson(*session);
  Print(absl::StrCat("model ", model->name(), ", policy ", session->policy().name(),
                     ", cache budget ", client::FormatBudget(session->cache().budget())));
  if (auto status = Upload(conversation->id()); !status.ok()) return status;
  std::vector<std::string> questions = {flags_.question};
  questions.insert(questions.end(), flags_.follow_ups.begin(), flags_.follow_ups.end());
  for (const std::string& question : questions) {
    if (auto status = Turn(*conversation, question, interrupts); !status.ok()) return status;
  }
  return Close(*conversation);
}

int RunDemo(const Invocation& invocation, const DemoFlags& flags) {
  if (auto readable = ReadFile(flags.image, kMaxImageBytes); !readable.ok()) {
    Fail(invocation, readable.status());
    return kExitUsage;
  }
  Interrupts interrupts;
  Demo demo(invocation, flags);
  const absl::Status status = demo.Run(interrupts);
  if (status.code() == absl::StatusCode::kCancelled) return kExitInterrupted;
  if (!status.ok()) return Fail(invocation, status);
  if (invocation.json) PrintJson(demo.report());
  return kExitOk;
}

}  // namespace

void AddDemo(CLI::App& app, Invocation& invocation) {
  auto* command = app.add_subcommand(
      "demo", "Talks about a picture, prints what the cache does, and checks all of it");
  const auto flags = std::make_shared<DemoFlags>();
  flags->conversation.AddTo(*command);
  command->add_option("--image", flags->image, "The picture")->required();
  command->add_option("--question", flags->question, "The first question");
  command->add_option("--follow-up", flags->follow_ups, "A later question (repeatable)")
      ->allow_extra_args(false)
      ->take_all();
  command->callback([&invocation, flags] {
    invocation.run = [&invocation, flags] { return RunDemo(invocation, *flags); };
  });
}

}  // namespace concertina::cli
