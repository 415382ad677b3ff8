#include <cstdio>
#include <string>

#include "client/budget_text.h"
#include "client/cli/invocation.h"
#include "client/cli/json.h"
#include "client/cli/replay.h"
#include "client/cli/session_options.h"
#include "client/cli/text.h"

namespace concertina::cli {
namespace {

constexpr int64_t kMaxPromptFileBytes = 256 << 20;

struct ScoreFlags {
  CacheFlags cache;
  std::string prompts;
  std::string fold = "prefill";
  bool measure_full = false;
};

nlohmann::json ToJson(const TaskScore& score) {
  return {{"ppl", score.ppl},
          {"ratio", score.ratio},
          {"agreement", score.agreement},
          {"prompts", score.prompts}};
}

nlohmann::json ToJson(const ScoreFlags& flags, const ReplayFile& file, const ReplayScores& scores) {
  nlohmann::json tasks = nlohmann::json::object();
  for (const auto& [task, score] : scores.tasks) tasks[task] = ToJson(score);
  nlohmann::json prompts = nlohmann::json::array();
  for (const PromptScore& prompt : scores.prompts) {
    prompts.push_back({{"task", prompt.task},
                       {"i", prompt.index},
                       {"nll", prompt.nll},
                       {"full_nll", prompt.full_nll},
                       {"full_nll_measured", prompt.full_nll_measured},
                       {"agreement", prompt.agreement}});
  }
  return {{"policy", flags.cache.policy}, {"budget", flags.cache.budget},
          {"fold", flags.fold},           {"skipped", file.skipped},
          {"tasks", std::move(tasks)},    {"all", ToJson(scores.all)},
          {"prompts", std::move(prompts)}};
}

void PrintRow(const std::string& name, const TaskScore& score) {
  std::printf("%-12s %8d %10.4f %10.4f %10.4f\n", PrintableText(name).c_str(), score.prompts,
              score.ppl, score.ratio, score.agreement);
}

int Run(const Invocation& invocation, const ScoreFlags& flags) {
  const auto text = ReadFile(flags.prompts, kMaxPromptFileBytes);
  const auto file = text.ok() ? ParseReplayFile(*text) : text.status();
  if (!file.ok()) {
    Fail(invocation, file.status());
    return kExitUsage;
  }
  if (file->skipped > 0) {
    std::fprintf(stderr, "%d prompts without an answer are left out\n", file->skipped);
  }
  ReplayOptions options{.policy = flags.cache.Policy(), .measure_full = flags.measure_full};
  if (!flags.cache.budget.empty()) options.budget = flags.cache.Budget();
  if (flags.fold == "decode") options.fold = v1::SCORE_FOLD_DECODE;
  const auto server = invocation.Connect();
  size_t done = 0;
  const auto scores = Replay(
      *file, options, [&](const v1::ScoreRequest& request) { return server->Score(request); },
      [&](const PromptScore& prompt) {
        std::fprintf(stderr, "%zu/%zu %s %lld: nll %.4f, full %.4f, agreement %.3f\n", ++done,
                     file->prompts.size(), PrintableText(prompt.task).c_str(),
                     static_cast<long long>(prompt.index), prompt.nll, prompt.full_nll,
                     prompt.agreement);
      });
  if (!scores.ok()) return Fail(invocation, scores.status());
  if (invocation.json) {
    PrintJson(ToJson(flags, *file, *scores));
    return kExitOk;
  }
  std::printf("%-12s %8s %10s %10s %10s\n", "task", "prompts", "ppl", "ratio", "agreement");
  for (const auto& [task, score] : scores->tasks) PrintRow(task, score);
  PrintRow("all", scores->all);
  return kExitOk;
}

}  // namespace

void AddScore(CLI::App& app, Invocation& invocation) {
  auto* command = app.add_subcommand("score", "Replays prompts and compares with the full cache");
  const auto flags = std::make_shared<ScoreFlags>();
  flags->cache.AddTo(*command);
  command->get_option("--policy")->required();
  command
      ->add_option("--prompts", flags->prompts,
                   "JSON list of {task, i, prompt: ids, ans: ids, full_nll}")
      ->required();
  command
      ->add_option("--fold", flags->fold,
                   "prefill: answer tokens are kept exact; decode: the budget holds for them too")
      ->check(CLI::IsMember({"prefill", "decode"}))
      ->capture_default_str();
  command->add_flag("--measure-full", flags->measure_full,
                    "Measure the full cache's NLL instead of taking the file's full_nll");
  command->callback([&invocation, flags] {
    invocation.run = [&invocation, flags] { return Run(invocation, *flags); };
  });
}

}  // namespace concertina::cli
