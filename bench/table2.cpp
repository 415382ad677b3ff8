// The protocol of Table 2 of the Elastic Cache paper (arXiv 2407.18121) with random weights: a
// batch of prompts is taken in, then every row generates; the full cache against one folded to a
// share of it, on the tensor path (models/tensor).
//
//   concertina_table2 [--device cpu|cuda] [--shape tiny|7b|13b] [--dtype f32|f16|bf16]
//     [--batch 16] [--prompt 1024] [--generate 512] [--budget 0.2] [--policy concertina]
//     [--rounds 3] [--threads N]
//
// Prints one JSON object and a Markdown row. Nothing else should use the machine.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "models/kernels/parallel.h"
#include "models/tensor/tensor_engine.h"
#include "nlohmann/json.hpp"

namespace concertina {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kEntriesPerPage = 16;
constexpr int kWarmUpTokens = 8;

struct Flags {
  std::string device = "cpu";
  std::string shape = "tiny";
  std::string dtype = "f32";
  std::string policy = "concertina";
  double budget = 0.2;
  int batch = 16;
  int prompt = 1024;
  int generate = 512;
  int rounds = 3;
  int threads = 2;
};

// Language models of LLaVA-1.5, and one that runs anywhere.
std::map<std::string, LanguageConfig> Shapes() {
  const LanguageConfig base{.rope_theta = 10000.0, .rms_eps = 1e-5F, .max_positions = 4096};
  LanguageConfig tiny = base, seven = base, thirteen = base;
  tiny.layers = 4, tiny.hidden = 256, tiny.intermediate = 688, tiny.heads = tiny.kv_heads = 4;
  tiny.head_dim = 64, tiny.vocab = 1000;
  seven.layers = 32, seven.hidden = 4096, seven.intermediate = 11008;
  seven.heads = seven.kv_heads = 32, seven.head_dim = 128, seven.vocab = 32064;
  thirteen.layers = 40, thirteen.hidden = 5120, thirteen.intermediate = 13824;
  thirteen.heads = thirteen.kv_heads = 40, thirteen.head_dim = 128, thirteen.vocab = 32064;
  return {{"tiny", tiny}, {"7b", seven}, {"13b", thirteen}};
}

const std::map<std::string, TensorType> kTypes{
    {"f32", TensorType::kF32}, {"f16", TensorType::kF16}, {"bf16", TensorType::kBf16}};

struct Run {
  double prefill_s = 0, decode_s = 0;
  int64_t used_bytes_prompt = 0;  // pages, when every prompt is in
  int64_t used_bytes_end = 0;     // and after the last token
  int64_t metadata_bytes = 0;
};

std::vector<std::vector<int32_t>> MakePrompts(const Flags& flags, int32_t vocab) {
  std::mt19937 random(1);
  std::vector<std::vector<int32_t>> prompts(static_cast<size_t>(flags.batch));
  for (std::vector<int32_t>& prompt : prompts) {
    for (int i = 0; i < flags.prompt; ++i) {
      prompt.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocab)));
    }
  }
  return prompts;
}

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Every row generates `tokens`, the first of them with its prompt.
absl::StatusOr<Run> RunOnce(TensorEngine& engine, const Flags& flags, bool fold,
                            const std::vector<std::vector<int32_t>>& prompts, int tokens) {
  absl::Status status = fold ? engine.SetPolicy(flags.policy, {}, Budget::Ratio(flags.budget))
                             : engine.SetPolicy("full", {}, Budget::Ratio(1.0));
  if (!status.ok()) return status;
  Run run;
  const auto start = Clock::now();
  for (size_t row = 0; row < prompts.size(); ++row) {
    status = engine.Prefill(static_cast<int32_t>(row), prompts[row]);
    if (!status.ok()) return status;
  }
  if (status = engine.Synchronize(); !status.ok()) return status;
  run.prefill_s = SecondsSince(start);
  run.used_bytes_prompt = engine.used_bytes();
  const auto decode_start = Clock::now();
  for (int i = 1; i < tokens; ++i) {
    if (status = engine.Decode(); !status.ok()) return status;
  }
  if (status = engine.Synchronize(); !status.ok()) return status;
  run.decode_s = SecondsSince(decode_start);
  run.used_bytes_end = engine.used_bytes();
  run.metadata_bytes = engine.metadata_bytes();
  return run;
}

struct Rates {
  double decode = 0, all = 0;  // tokens per second of the fastest round
};

// The fastest phase of all rounds: what the machine can do when nothing disturbs it.
Rates RatesOf(const std::vector<Run>& runs, const Flags& flags) {
  double prefill = runs.front().prefill_s, decode = runs.front().decode_s;
  for (const Run& run : runs) {
    prefill = std::min(prefill, run.prefill_s);
    decode = std::min(decode, run.decode_s);
  }
  return {.decode = flags.batch * (flags.generate - 1) / decode,
          .all = flags.batch * flags.generate / (prefill + decode)};
}

nlohmann::json ToJson(const std::vector<Run>& runs, const Flags& flags) {
  const Rates rates = RatesOf(runs, flags);
  nlohmann::json rounds = nlohmann::json::array();
  for (const Run& run : runs) {
    rounds.push_back({{"prefill_s", run.prefill_s}, {"decode_s", run.decode_s}});
  }
  return {{"decode_tokens_per_s", rates.decode},
          {"tokens_per_s", rates.all},
          {"used_bytes_after_prompts", runs.front().used_bytes_prompt},
          {"used_bytes_at_end", runs.front().used_bytes_end},
          {"metadata_bytes", runs.front().metadata_bytes},
          {"rounds", std::move(rounds)}};
}

void Report(const Flags& flags, const TensorEngine& engine, const std::vector<Run>& full,
            const std::vector<Run>& folded) {
  const Rates a = RatesOf(full, flags), b = RatesOf(folded, flags);
  const nlohmann::json report = {{"device", flags.device},
                                 {"shape", flags.shape},
                                 {"dtype", flags.dtype},
                                 {"batch", flags.batch},
                                 {"prompt_tokens", flags.prompt},
                                 {"generated_tokens", flags.generate},
                                 {"policy", flags.policy},
                                 {"budget", flags.budget},
                                 {"weight_bytes", engine.weight_bytes()},
                                 {"full", ToJson(full, flags)},
                                 {"folded", ToJson(folded, flags)},
                                 {"times_decode_tokens_per_s", b.decode / a.decode},
                                 {"times_tokens_per_s", b.all / a.all}};
  std::printf("%s\n", report.dump(2).c_str());
  const double gib = 1024.0 * 1024.0 * 1024.0;
  std::printf(
      "| %s, %s, %s | %d × (%d + %d) | %.1f → %.1f | %.2f× | %.1f → %.1f | %.2f× | %.3f → %.3f |\n",
      flags.shape.c_str(), flags.dtype.c_str(), flags.device.c_str(), flags.batch, flags.prompt,
      flags.generate, a.decode, b.decode, b.decode / a.decode, a.all, b.all, b.all / a.all,
      static_cast<double>(full.front().used_bytes_end) / gib,
      static_cast<double>(folded.front().used_bytes_end) / gib);
}

absl::StatusOr<std::unique_ptr<TensorEngine>> MakeEngine(const Flags& flags) {
  LanguageConfig config = Shapes().at(flags.shape);
  const int64_t tokens = int64_t{flags.prompt} + flags.generate;
  config.max_positions = std::max(config.max_positions, tokens);
  const int64_t pages = (tokens + kEntriesPerPage) / kEntriesPerPage;
  return TensorEngine::Random(config, /*seed=*/1,
                              {.device = flags.device,
                               .type = kTypes.at(flags.dtype),
                               .rows = flags.batch,
                               .pool_pages = pages * flags.batch * config.layers * config.kv_heads,
                               .entries_per_page = kEntriesPerPage});
}

absl::Status RunAll(const Flags& flags) {
  SetThreads(flags.threads);
  const auto engine = MakeEngine(flags);
  if (!engine.ok()) return engine.status();
  const auto prompts = MakePrompts(flags, (*engine)->config().vocab);
  std::vector<Run> full, folded;
  for (int round = -1; round < flags.rounds; ++round) {
    // The first round only warms up; the order changes, so that a slow drift favours neither.
    const int tokens = round < 0 ? std::min(kWarmUpTokens, flags.generate) : flags.generate;
    for (const bool fold : {round % 2 != 0, round % 2 == 0}) {
      const auto run = RunOnce(**engine, flags, fold, prompts, tokens);
      if (!run.ok()) return run.status();
      if (round >= 0) (fold ? folded : full).push_back(*run);
    }
  }
  Report(flags, **engine, full, folded);
  return absl::OkStatus();
}

std::vector<std::string> Names(const auto& map) {
  std::vector<std::string> names;
  for (const auto& [name, value] : map) names.push_back(name);
  return names;
}

}  // namespace
}  // namespace concertina

int main(int argc, char** argv) {
  concertina::Flags flags;
  CLI::App app{"Full against folded caches under the protocol of the paper's Table 2"};
  app.add_option("--device", flags.device, "cpu, cuda, cuda:1")->capture_default_str();
  app.add_option("--shape", flags.shape)
      ->check(CLI::IsMember(concertina::Names(concertina::Shapes())))
      ->capture_default_str();
  app.add_option("--dtype", flags.dtype)
      ->check(CLI::IsMember(concertina::Names(concertina::kTypes)))
      ->capture_default_str();
  app.add_option("--policy", flags.policy)->capture_default_str();
  app.add_option("--budget", flags.budget)->capture_default_str();
  app.add_option("--batch", flags.batch)->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--prompt", flags.prompt)->check(CLI::Range(1, 65536))->capture_default_str();
  app.add_option("--generate", flags.generate)->check(CLI::Range(2, 65536))->capture_default_str();
  app.add_option("--rounds", flags.rounds)->check(CLI::Range(1, 100))->capture_default_str();
  app.add_option("--threads", flags.threads)->check(CLI::Range(1, 1024))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = concertina::RunAll(flags);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}
