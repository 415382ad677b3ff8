#include "server/engine/host_runner.h"

#include <utility>

#include "cache/session_cache.h"
#include "models/kernels/packed_groups.h"
#include "server/engine/prefill_job.h"
#include "server/engine/probe_pass.h"

namespace concertina {

namespace {

absl::Status MayPack(const CacheSpec& spec, const Policy& policy, int64_t head_dim) {
  if (spec.entry_type != EntryType::kPacked || policy.keeps_everything()) return absl::OkStatus();
  if (policy.merges()) {
    return absl::FailedPreconditionError("packed entries cannot be merged, as this policy does");
  }
  if (policy.splits_heads()) {
    return absl::FailedPreconditionError("packed entries are the same number in every head");
  }
  if (head_dim > kPackedHeadDimMax) {
    return absl::FailedPreconditionError("the model's heads are too large for packed entries");
  }
  return absl::OkStatus();
}

}  // namespace

HostRunner::HostRunner(const LanguageModel& language, PagePool* pool)
    : language_(language), pool_(pool), batch_(language, buffers_) {}

absl::StatusOr<std::unique_ptr<ConversationCache>> HostRunner::MakeCache(const CacheSpec& spec) {
  auto policy = MakePolicy(spec.policy, spec.policy_options);
  if (!policy.ok()) return policy.status();
  if (spec.turn_fold != TurnFold::kRefold && !(*policy)->follows_turn_rules()) {
    return absl::InvalidArgumentError("this policy folds all turns together");
  }
  if (spec.turn_fold != TurnFold::kRefold && (*policy)->splits_heads()) {
    return absl::InvalidArgumentError("heads are split only where all turns are folded together");
  }
  const LanguageConfig& config = language_.config();
  if (absl::Status may = MayPack(spec, **policy, config.head_dim); !may.ok()) return may;
  const CacheShape shape{config.layers, config.kv_heads, config.head_dim};
  const OnContextEnd on_context_end =
      spec.on_context_end.value_or((*policy)->default_on_context_end());
  RotateFn rotate = [&rope = language_.rope(), dim = config.head_dim](float* key, int64_t delta) {
    const auto position = static_cast<int32_t>(delta);
    rope.Rotate(key, 1, 1, dim, &position);
  };
  return std::make_unique<SessionCache>(pool_, shape, spec.entry_type, *std::move(policy),
                                        spec.budget, on_context_end, spec.turn_fold, spec.images,
                                        spec.images.merge ? std::move(rotate) : RotateFn());
}

absl::Status HostRunner::Embed(std::span<const int32_t> ids, float* x) {
  language_.Embed(ids, x);
  return absl::OkStatus();
}

std::unique_ptr<PromptPass> HostRunner::MakePass(ConversationCache& cache,
                                                 std::vector<float> embeddings,
                                                 PromptPass::Options options) {
  return std::make_unique<PrefillJob>(language_, static_cast<SessionCache&>(cache),
                                      std::move(embeddings), std::move(options), buffers_);
}

absl::StatusOr<std::unique_ptr<PromptPass>> HostRunner::MakeProbe(ConversationCache& cache,
                                                                  std::vector<float> embeddings,
                                                                  int64_t position, bool adapter) {
  return std::make_unique<ProbePass>(language_, static_cast<SessionCache&>(cache),
                                     std::move(embeddings), position, adapter, buffers_);
}

absl::StatusOr<const float*> HostRunner::Logits(const float* x, int64_t n) {
  float* logits = Grow(buffers_.logits, n * language_.config().vocab);
  language_.Logits(x, n, logits);
  return logits;
}

int64_t HostRunner::PassBytesBound(int64_t positions) const {
  return PrefillJob::BytesBound(language_.config(), positions);
}

}  // namespace concertina
