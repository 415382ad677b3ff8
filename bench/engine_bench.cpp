// Measures the engine called directly, without gRPC, one scenario after another.
//
//   concertina_engine_bench [--model PATH] [--weights auto|f32|bf16|int8|stored] [--threads 2]
//   SCENARIO...
//
// A scenario is a name with parameters, "decode:depth=900,sessions=8,policy=concertina,ratio=0.2";
// bench/engine/scenarios.h lists them. Prints one JSON object a line: first the model and the
// machine's part in it, then one per scenario. Nothing else should use the machine.

#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "bench/engine/flags.h"
#include "bench/engine/scenarios.h"
#include "models/kernels/isa.h"
#include "models/kernels/parallel.h"

namespace concertina::bench {
namespace {

struct Flags : EngineFlags {
  std::string entries = "bf16";
  int64_t pool_bytes = int64_t{2} << 30;
  std::vector<std::string> scenarios;
};

nlohmann::json Describe(const Model& model, const Flags& flags, int64_t base_rss_bytes) {
  const LanguageConfig& config = model.language->config();
  const MatrixPlan& plan = model.language->plan();
  const CopyBytes copies = model.language->matrix_bytes();
  return {{"model", model.name},
          {"weights_few_rows", MatrixTypeName(plan.few)},
          {"weights_many_rows", MatrixTypeName(plan.many)},
          {"many_rows_from", plan.many_from},
          {"entries", flags.entries},
          {"threads", flags.threads},
          {"kernels", isa::Active().name},
          {"layers", config.layers},
          {"vocab", config.vocab},
          {"matrix_parameters", model.language->matrix_parameters()},
          {"head_parameters", int64_t{config.vocab} * config.hidden},
          {"decode_matrix_bytes", copies.few},
          {"matrix_bytes", copies.few + copies.many},
          {"weight_bytes", model.weight_bytes},
          {"base_rss_bytes", base_rss_bytes}};
}

int Fail(const absl::Status& status) {
  std::cerr << "error: " << status << '\n';
  return 1;
}

void Print(const nlohmann::json& line) { std::cout << line.dump() << std::endl; }

int Run(const Flags& flags) {
  std::vector<Scenario> scenarios;
  for (const std::string& text : flags.scenarios) {
    auto scenario = Scenario::Parse(text);
    if (!scenario.ok()) return Fail(scenario.status());
    scenarios.push_back(*std::move(scenario));
  }
  const int64_t base_rss_bytes = StatusBytes("VmRSS");
  const auto weights = WeightsOf(flags.weights);
  if (!weights.ok()) return Fail(weights.status());
  SetThreads(flags.threads);  // types are measured with as many as the engine will have
  auto model = LoadModel(
      {.path = flags.model, .vision_path = {}, .weight_type = *weights, .chat_family = {}});
  if (!model.ok()) return Fail(model.status());
  EngineOptions options;
  options.pool_bytes = flags.pool_bytes;
  options.threads = flags.threads;
  options.default_entry_type = flags.entries == "f32" ? EntryType::kF32 : EntryType::kBf16;
  std::ostringstream text;
  text << std::ifstream(flags.text).rdbuf();
  auto driver = Driver::Start(options, *model, text.str());
  if (!driver.ok()) return Fail(driver.status());
  Print(Describe(**model, flags, base_rss_bytes));
  for (const Scenario& scenario : scenarios) {
    const auto result = RunScenario(**driver, scenario);
    if (!result.ok()) return Fail(result.status());
    Print(*result);
  }
  return 0;
}

}  // namespace
}  // namespace concertina::bench

int main(int argc, char** argv) {
  concertina::bench::Flags flags;
  CLI::App app("Measures the engine called directly.");
  flags.AddTo(app);
  app.add_option("--entries", flags.entries, "type of cache entries")
      ->check(CLI::IsMember({"f32", "bf16"}));
  app.add_option("--pool-bytes", flags.pool_bytes, "size of the pool")->check(CLI::PositiveNumber);
  app.add_option("scenarios", flags.scenarios, "what to measure")->required();
  CLI11_PARSE(app, argc, argv);
  return concertina::bench::Run(flags);
}
