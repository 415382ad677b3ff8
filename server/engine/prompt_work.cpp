#include "server/engine/prompt_work.h"

namespace concertina {
namespace {

// What a slice takes whatever its rows (starting the kernels, bringing the weights in), in rows.
constexpr double kFixedRows = 8;
// Storing an entry of one head costs about as much as so many multiply-adds.
constexpr double kFoldMacs = 40'000;

double RowMacs(const LanguageConfig& config) {
  const double hidden = config.hidden;
  const auto q = static_cast<double>(config.q_width());
  const auto kv = static_cast<double>(config.kv_width());
  return hidden * (2 * q + 2 * kv + 3.0 * config.intermediate);
}

double AttentionMacs(const LanguageConfig& config, int64_t rows, int64_t first_key) {
  const double keys = static_cast<double>(first_key) + static_cast<double>(rows) / 2;
  return static_cast<double>(rows) * keys * 2 * static_cast<double>(config.q_width());
}

}  // namespace

SliceCost::Shares LayerSliceShares(const LanguageConfig& config, int64_t rows, int64_t first_key,
                                   int64_t fold_entries) {
  const double row = RowMacs(config);
  return {kFixedRows * row, static_cast<double>(rows) * row, AttentionMacs(config, rows, first_key),
          static_cast<double>(fold_entries) * config.kv_heads * kFoldMacs};
}

SliceCost::Shares PictureSliceShares(int64_t rows, int64_t row_macs) {
  const auto row = static_cast<double>(row_macs);
  return {kFixedRows * row, static_cast<double>(rows) * row, 0, 0};
}

SliceCost::Shares LogitShares(const LanguageConfig& config, int64_t rows) {
  return PictureSliceShares(rows, int64_t{config.hidden} * config.vocab);
}

double PromptMacs(const LanguageConfig& config, int64_t tokens, int64_t entries) {
  return config.layers * SliceMacs(config, tokens, entries);
}

double SliceMacs(const LanguageConfig& config, int64_t rows, int64_t first_key) {
  return static_cast<double>(rows) * RowMacs(config) + AttentionMacs(config, rows, first_key);
}

}  // namespace concertina
