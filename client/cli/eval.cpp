#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/interrupts.h"
#include "client/cli/invocation.h"
#include "client/cli/json.h"
#include "client/cli/text.h"
#include "client/eval/dataset.h"
#include "client/eval/plots.h"
#include "client/eval/report.h"
#include "client/eval/runner.h"

namespace concertina::cli {
namespace {

constexpr int64_t kMaxDataBytes = 256 << 20;
constexpr int kMostAtOnce = 256;
constexpr int kUsualRetries = 4;  // a long run outlives a full queue

struct EvalFlags {
  std::vector<std::string> data;
  eval::SettingChoices settings{
      .policies = {"concertina"}, .budgets = {"0.1", "0.2", "0.5"}, .entry_types = {"default"}};
  eval::MeasureOptions measure;
  std::string fold = "prefill";
  std::string image_turn = "data";
  std::string out;
  size_t limit = 0;
  int concurrency = 4;
  uint64_t seed = 1;
  bool resume = true;
};

const std::map<std::string, eval::ImageTurn> kImageTurns{{"data", eval::ImageTurn::kAsData},
                                                         {"with", eval::ImageTurn::kWith},
                                                         {"apart", eval::ImageTurn::kApart},
                                                         {"both", eval::ImageTurn::kBoth}};

absl::StatusOr<std::string> ReadPicture(const std::string& path) {
  return ReadFile(path, kMaxImageBytes);
}

// The records of all files, in order.
absl::StatusOr<std::vector<eval::Record>> ReadData(const EvalFlags& flags) {
  std::vector<eval::Record> records;
  int skipped = 0;
  for (const std::string& path : flags.data) {
    const auto text = ReadFile(path, kMaxDataBytes);
    if (!text.ok()) return text.status();
    const size_t slash = path.rfind('/');
    auto part = eval::ParseDataset(
        *text, {.name = slash == std::string::npos ? path : path.substr(slash + 1),
                .folder = slash == std::string::npos ? "" : path.substr(0, slash + 1),
                .image_turn = kImageTurns.at(flags.image_turn),
                .limit = flags.limit,
                .read = ReadPicture});
    if (!part.ok()) return part.status();
    skipped += part->skipped;
    for (eval::Record& record : part->records) records.push_back(std::move(record));
  }
  if (skipped > 0) {
    std::fprintf(stderr, "%d prompts of token ids with nothing to score are left out\n", skipped);
  }
  return records;
}

absl::Status WriteFile(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  return file ? absl::OkStatus() : absl::InternalError("cannot write " + path);
}

nlohmann::json Head(const EvalFlags& flags, const v1::GetModelResponse& model) {
  return {{"data", flags.data},
          {"fold", flags.fold},
          {"image_turn", flags.image_turn},
          {"max_tokens", flags.measure.max_tokens},
          {"probe_every", flags.measure.probe_every},
          {"seed", flags.seed},
          {"model",
           {{"name", model.name()},
            {"weight_type", model.weight_type()},
            {"device", model.device()},
            {"kernels", model.kernels()}}}};
}

// summary.json, summary.csv and the plots; then the tables or, with --json, the summary on stdout.
absl::Status Report(const Invocation& invocation, const EvalFlags& flags,
                    const std::vector<eval::Row>& rows, nlohmann::json summary) {
  summary["rows"] = eval::JsonOf(rows);
  const std::string text =
      summary.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  absl::Status status = WriteFile(flags.out + "/summary.json", text);
  status.Update(WriteFile(flags.out + "/summary.csv", eval::CsvOf(rows)));
  std::error_code error;
  std::filesystem::create_directory(flags.out + "/plots", error);
  for (const eval::Plot& plot : eval::MakePlots(rows)) {
    status.Update(WriteFile(absl::StrCat(flags.out, "/plots/", plot.file), plot.svg));
  }
  if (!status.ok()) return status;
  if (invocation.json) {
    PrintJson(summary);
  } else {
    std::fputs(PrintableText(eval::TablesOf(rows)).c_str(), stdout);
  }
  return absl::OkStatus();
}

eval::Progress MakeProgress(size_t total, size_t missing) {
  return eval::Progress({.total = total,
                         .kept = total - missing,
                         .terminal = isatty(STDERR_FILENO) != 0,
                         .now =
                             [] {
                               const auto now = std::chrono::steady_clock::now().time_since_epoch();
                               return std::chrono::duration<double>(now).count();
                             },
                         .write = [](const std::string& text) { std::fputs(text.c_str(), stderr); },
                         .printable = [](const std::string& text) { return PrintableText(text); }});
}

// A name that is not served would fail in every cell.
absl::Status CheckPolicies(const std::vector<eval::Setting>& settings,
                           const v1::GetModelResponse& model) {
  const auto& served = model.policies();
  for (const eval::Setting& setting : settings) {
    const std::string& name = setting.policy.name();
    if (served.empty() || std::find(served.begin(), served.end(), name) != served.end()) continue;
    return absl::InvalidArgumentError(absl::StrCat("the server has no policy \"", name, "\""));
  }
  return absl::OkStatus();
}

// Measures what is missing and reports all there is.
int Measure(const Invocation& invocation, const EvalFlags& flags,
            const std::vector<eval::Record>& records, const std::vector<eval::Setting>& settings) {
  Interrupts interrupts;
  client::ClientOptions options = invocation.Options();
  if (invocation.retries == 0) options.retry.max_attempts = 1 + kUsualRetries;
  const auto server = client::Client::Connect(invocation.Target(), options);
  const auto model = server->GetModel();
  if (!model.ok()) return Fail(invocation, model.status());
  const absl::Status served = CheckPolicies(settings, *model);
  auto store = served.ok() ? eval::Store::Open(flags.out, !flags.resume) : served;
  if (!store.ok()) {
    Fail(invocation, store.status());
    return kExitUsage;
  }
  std::atomic<bool> stopped{false}, interrupted{false};
  eval::MeasureOptions measure = flags.measure;
  measure.read = ReadPicture;
  const eval::Measurer measurer(*server, *model, measure, stopped);
  const auto jobs = eval::MissingCells(records, settings, measurer, **store);
  eval::Progress progress = MakeProgress(records.size() * settings.size(), jobs.size());
  eval::Runner::Result result;
  {
    const Interrupts::Watch watch(interrupts, [&] {
      // A second signal does not wait for the calls under way: what is done is in the file.
      if (interrupted.exchange(true)) std::_Exit(kExitInterrupted);
      stopped = true;
      progress.Note("stopping after the calls under way; once more: at once");
    });
    result = eval::Runner(measurer, **store, progress, stopped).Run(jobs, flags.concurrency);
  }
  progress.End();
  const auto rows = eval::Summarise(
      records, settings,
      [&](const eval::Record& record, const eval::Setting& setting) {
        return (*store)->Find(measurer.KeyOf(record, setting));
      },
      result.too_long, flags.seed);
  nlohmann::json head = Head(flags, *model);
  head["complete"] = !stopped && result.failed == 0;
  const absl::Status reported = Report(invocation, flags, rows, std::move(head));
  if (!result.status.ok()) return Fail(invocation, result.status);
  if (!reported.ok()) return Fail(invocation, reported);
  if (interrupted) return kExitInterrupted;
  if (result.failed == 0) return kExitOk;
  std::fprintf(stderr, "%zu cells failed; the same command tries them again\n", result.failed);
  return kExitFailed;
}

int Run(const Invocation& invocation, EvalFlags flags) {
  if (flags.fold == "decode") flags.settings.fold = v1::SCORE_FOLD_DECODE;
  const auto settings = eval::MakeSettings(flags.settings);
  if (!settings.ok()) {
    Fail(invocation, settings.status());
    return kExitUsage;
  }
  const auto records = ReadData(flags);
  if (!records.ok()) {
    Fail(invocation, records.status());
    return kExitUsage;
  }
  return Measure(invocation, flags, *records, *settings);
}

void AddDataFlags(CLI::App& command, EvalFlags& flags) {
  command.add_option("data", flags.data, "Data sets: JSON lists or JSON Lines (docs/quality.md)")
      ->required();
  command.add_option("--limit", flags.limit, "Only the first so many records of every data set");
  command
      .add_option("--image-turn", flags.image_turn,
                  "Pictures are said with the first question about them, apart in a turn of their\n"
                  "own, or both, one after the other; data: as every record says")
      ->check(CLI::IsMember({"data", "with", "apart", "both"}))
      ->capture_default_str();
}

void AddSettingFlags(CLI::App& command, EvalFlags& flags) {
  command
      .add_option("--policies", flags.settings.policies,
                  "Policies to compare with the full cache, such as concertina,h2o; with options\n"
                  "elastic:pure-sink, elastic:merge=none, concertina:adaptive-heads and "
                  "concertina:entries=packed")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  command
      .add_option("--budgets", flags.settings.budgets,
                  "Budgets of each policy: 0.2 (of the tokens), 256t or 64MiB")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  command
      .add_option("--entry-types", flags.settings.entry_types,
                  "Types of entries of each: bf16, f32, int8, packed; default: the server's")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  command
      .add_option("--fold", flags.fold,
                  "Scored prompts. prefill: the continuation is kept exact; decode: the budget\n"
                  "holds for it too")
      ->check(CLI::IsMember({"prefill", "decode"}))
      ->capture_default_str();
}

void AddRunFlags(CLI::App& command, EvalFlags& flags) {
  command
      .add_option("--out", flags.out,
                  "Folder for results.jsonl, summary.json, summary.csv and plots. A run goes on\n"
                  "where the last one into it ended")
      ->required();
  command.add_flag("--resume,!--no-resume", flags.resume,
                   "Keep the cells that the folder has (the default), or measure all anew");
  command.add_option("--max-tokens", flags.measure.max_tokens, "Longest answer, in tokens")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command
      .add_option("--probe-every", flags.measure.probe_every,
                  "Conversations of token ids: probe after every so many turns, and at the end")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command.add_option("--concurrency", flags.concurrency, "Cells measured at once, at most")
      ->check(CLI::Range(1, kMostAtOnce))
      ->capture_default_str();
  command.add_option("--seed", flags.seed, "Of the bootstrap intervals")->capture_default_str();
}

}  // namespace

void AddEval(CLI::App& app, Invocation& invocation) {
  auto* command =
      app.add_subcommand("eval", "Measures what policies, budgets and entry types cost in quality");
  const auto flags = std::make_shared<EvalFlags>();
  AddDataFlags(*command, *flags);
  AddSettingFlags(*command, *flags);
  AddRunFlags(*command, *flags);
  command->callback([&invocation, flags] {
    invocation.run = [&invocation, flags] { return Run(invocation, *flags); };
  });
}

}  // namespace concertina::cli
