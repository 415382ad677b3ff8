// The matrix products of a prompt's slice alone: the limit of a prefill with these kernels.

#include <algorithm>
#include <array>

#include "bench/engine/scenarios.h"
#include "models/kernels/parallel.h"
#include "models/tuning/measure.h"

namespace concertina::bench {
namespace {

// As GGUF's Q4_1 and Q4_K have them.
constexpr BlockFormat kFourBits{.bits = 4, .minima = true};

}  // namespace

absl::StatusOr<nlohmann::json> RunMatrices(Driver& driver, const Scenario& scenario) {
  const LanguageConfig& config = driver.model().language->config();
  const MatrixType type = driver.model().language->plan().many;
  const int64_t hidden = config.hidden;
  // A layer's four, stacked as the model holds them.
  const std::array<std::array<int64_t, 2>, 4> shapes{{
      {config.q_width() + 2 * config.kv_width(), hidden},
      {hidden, config.q_width()},
      {2 * int64_t{config.intermediate}, hidden},
      {hidden, config.intermediate},
  }};
  SetThreads(driver.engine().options().threads);
  nlohmann::json runs = nlohmann::json::array();
  for (int i = 0; i < scenario.Int("repeat", 1); ++i) {
    double operations = 0, seconds = 0;
    for (const auto& [n, k] : shapes) {
      const SampleMatrix sample{.n = n,
                                .k = k,
                                .stored = kFourBits,
                                .model_parameters = driver.model().language->matrix_parameters()};
      auto measurement = TypeMeasurement::Make(sample, std::array{type});
      if (!measurement.ok()) return measurement.status();
      const auto rates = measurement->Rates();
      if (rates.empty()) return absl::FailedPreconditionError("the type is not measured here");
      const double count = 2.0 * static_cast<double>(kMeasuredRows.back() * n * k);
      operations += count;
      seconds += count / rates.front().operations_per_second;
    }
    runs.push_back({{"rows", kMeasuredRows.back()},
                    {"type", MatrixTypeName(type)},
                    {"gop_per_s", operations / seconds * 1e-9}});
  }
  return runs;
}

}  // namespace concertina::bench
