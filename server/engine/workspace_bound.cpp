#include "server/engine/workspace_bound.h"

#include <algorithm>

#include "models/kernels/decode_attention.h"
#include "models/kernels/parallel.h"
#include "models/kernels/prefill_attention.h"
#include "models/vision/vision_job.h"
#include "server/engine/actions/prompt_order.h"
#include "server/engine/prompt_work.h"
#include "server/engine/turn_quality.h"
#include "server/engine/weight_order.h"

namespace concertina {
namespace {

constexpr int64_t kFloat = sizeof(float);
// Slots of a decode item beside its entries: two kinds of groups, each to a multiple of 64. Holes
// of groups are fewer than the entries that their budget drops.
constexpr int64_t kPaddingSlots = 128;

// Of the matrices' own: a product has its rows laid out or rounded anew, at most in f32, and of
// bf16 the result once more. Two copies of the weights have two such places.
int64_t MatrixBytes(const LanguageConfig& config, int64_t rows) {
  const int64_t in = std::max<int64_t>({config.hidden, config.q_width(), config.intermediate});
  const int64_t out =
      std::max<int64_t>(config.q_width() + 2 * config.kv_width(), 2 * config.intermediate);
  return rows * (2 * in + out) * kFloat;
}

// Of one step: everything that has so many rows.
int64_t RowBytes(const LanguageConfig& config, int64_t rows) {
  const int64_t qkv = config.q_width() + 2 * config.kv_width();
  // Residual stream, its norm, attention, the products on the way, low-rank scratch.
  const int64_t floats = 3 * config.hidden + config.q_width() +
                         std::max<int64_t>(qkv, 2 * config.intermediate) + config.intermediate;
  return rows * (floats * kFloat + kFloat + int64_t{sizeof(int32_t)});
}

int64_t AttentionBytes(const LanguageConfig& config, int64_t max_batch) {
  const int64_t group = config.heads / config.kv_heads;
  return PrefillScratchBytes(
             {config.heads, config.kv_heads, config.head_dim, config.max_positions}) +
         DecodeScratchBytes(max_batch * config.kv_heads, config.max_positions + kPaddingSlots,
                            group, config.head_dim);
}

// Beside the passes of two prompts: what their probes compare.
int64_t ProbeBytes(const LanguageConfig& config) {
  constexpr int64_t kCopies = 3;  // embeddings, what came of them, and pairs of that: with slack
  return 2 * (1 + kCopies) * int64_t{kProbeTokensMax} * config.hidden * kFloat;
}

// Of the CPU's kernels; another device keeps its own beside its entries.
int64_t HostKernelBytes(const LanguageConfig& config, const EngineOptions& options) {
  const int64_t rows = std::max(options.max_batch, options.prefill_slice_rows);
  // Tables grow by doubling.
  const int64_t angles = 2 * config.max_positions * int64_t{config.head_dim} * kFloat;
  return RowBytes(config, rows) + MatrixBytes(config, rows) +
         AttentionBytes(config, options.max_batch) + angles;
}

}  // namespace

int64_t WorkspaceBound(const Model& model, const ModelRunner& runner, const EngineOptions& options,
                       int64_t feature_bytes) {
  const LanguageConfig& config = model.config;
  const int64_t positions = config.max_positions + OvertakerPositions(config);
  const int64_t pictures = model.vision ? 2 * VisionJob::BytesFor(model.vision->config()) : 0;
  const int64_t logits =
      std::max<int64_t>(options.max_batch, kMostLogitRows) * config.vocab * kFloat;
  const int64_t kernels = model.device ? 0 : HostKernelBytes(config, options);
  return runner.PassBytesBound(positions) + ProbeBytes(config) + kernels + pictures + logits +
         Threads() * SamplerScratch::BytesFor(config.vocab) + feature_bytes;
}

}  // namespace concertina
