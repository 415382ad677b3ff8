#include "server/rpc/render/cache.h"

#include <chrono>

namespace concertina {
namespace {

v1::MergeMode Render(MergeMode mode) {
  switch (mode) {
    case MergeMode::kMean:
      return v1::MERGE_MODE_MEAN;
    case MergeMode::kMass:
      return v1::MERGE_MODE_MASS;
    case MergeMode::kNone:
      return v1::MERGE_MODE_NONE;
    case MergeMode::kVOnly:
      return v1::MERGE_MODE_V_ONLY;
  }
  return v1::MERGE_MODE_UNSPECIFIED;
}

v1::TurnFold Render(TurnFold fold) {
  switch (fold) {
    case TurnFold::kRefold:
      return v1::TURN_FOLD_REFOLD;
    case TurnFold::kIsolate:
      return v1::TURN_FOLD_ISOLATE;
    case TurnFold::kFair:
      break;
  }
  return v1::TURN_FOLD_FAIR;
}

void RenderTime(std::chrono::system_clock::time_point time, google::protobuf::Timestamp* out) {
  using std::chrono::floor;
  using std::chrono::seconds;
  const auto since_epoch = time.time_since_epoch();
  const auto whole = floor<seconds>(since_epoch);
  out->set_seconds(whole.count());
  const auto rest = std::chrono::duration_cast<std::chrono::nanoseconds>(since_epoch - whole);
  out->set_nanos(static_cast<int32_t>(rest.count()));
}

}  // namespace

void Render(const Budget& budget, v1::Budget* out) {
  switch (budget.unit) {
    case Budget::Unit::kRatio:
      out->set_ratio(budget.ratio);
      break;
    case Budget::Unit::kTokens:
      out->set_tokens(budget.tokens);
      break;
    case Budget::Unit::kBytes:
      out->set_bytes(budget.bytes);
      break;
  }
}

void Render(const CacheSnapshot& cache, v1::CacheState* out) {
  Render(cache.budget, out->mutable_budget());
  out->set_budget_entries(cache.budget_entries);
  out->set_raised_to_floor(cache.raised_to_floor);
  out->set_used_bytes(cache.used_bytes);
  out->set_payload_bytes(cache.payload_bytes);
  out->set_live_entries(cache.live_entries);
  out->set_tokens_seen(cache.tokens_seen);
  out->set_full_bytes(cache.full_bytes);
  out->set_next_position(cache.next_position);
  out->set_shared_bytes(cache.shared_bytes);
}

void Render(const FoldReport& layer, v1::LayerFold* out) {
  out->set_entries_before(layer.entries_before);
  out->set_entries_after(layer.entries_after);
  out->set_bytes_before(layer.bytes_before);
  out->set_bytes_after(layer.bytes_after);
  out->set_attention_mass_kept(layer.mass_kept);
}

v1::EntryType Render(EntryType type) {
  switch (type) {
    case EntryType::kF32:
      return v1::ENTRY_TYPE_F32;
    case EntryType::kBf16:
      return v1::ENTRY_TYPE_BF16;
    case EntryType::kInt8:
      return v1::ENTRY_TYPE_INT8;
    case EntryType::kPacked:
      break;
  }
  return v1::ENTRY_TYPE_PACKED;
}

void Render(const SessionInfo& session, v1::Session* out) {
  out->set_session_id(session.session_id);
  out->set_state(session.busy ? v1::SESSION_STATE_BUSY : v1::SESSION_STATE_IDLE);
  out->set_turns(session.turns);
  v1::CachePolicy* policy = out->mutable_policy();
  policy->set_name(session.policy);
  // Options of "elastic" alone: elsewhere they would suggest that they act.
  if (session.policy == "elastic") {
    policy->set_pure_sink(session.policy_options.pure_sink);
    policy->set_merge(Render(session.policy_options.merge));
  }
  policy->set_adaptive_heads(session.policy_options.adaptive_heads);
  policy->set_repeat_when_idle(session.policy_options.repeat_when_idle);
  policy->set_on_context_end(session.on_context_end == OnContextEnd::kRebase
                                 ? v1::ON_CONTEXT_END_REBASE
                                 : v1::ON_CONTEXT_END_REFUSE);
  policy->set_entry_type(Render(session.entry_type));
  policy->set_turn_fold(Render(session.turn_fold));
  policy->set_pin_system_prompt(session.pin_system_prompt);
  policy->set_image_budget(session.images.share);
  policy->set_merge_images(session.images.merge);
  policy->set_probe_tokens(session.quality.probe_tokens);
  policy->set_min_quality(session.quality.min_quality);
  Render(session.cache, out->mutable_cache());
  RenderTime(session.created, out->mutable_create_time());
  RenderTime(session.last_used, out->mutable_last_used_time());
  out->set_evicted(session.evicted);
  if (session.expires.has_value()) RenderTime(*session.expires, out->mutable_expire_time());
  out->set_transcript_bytes(session.transcript_bytes);
  out->set_repeated_turns(session.repeated_turns);
}

}  // namespace concertina
