#include "server/rpc/render/events.h"

#include <chrono>
#include <utility>

#include "server/rpc/render/cache.h"

namespace concertina {
namespace {

void RenderDuration(std::chrono::nanoseconds duration, google::protobuf::Duration* out) {
  const auto whole = std::chrono::duration_cast<std::chrono::seconds>(duration);
  out->set_seconds(whole.count());
  out->set_nanos(static_cast<int32_t>((duration - whole).count()));
}

v1::FinishReason Render(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
    case FinishReason::kStopString:
      return v1::FINISH_REASON_STOP_STRING;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

void RenderInto(const StartedEvent& event, v1::GenerateResponse* out) {
  RenderDuration(event.queue_time, out->mutable_started()->mutable_queue_time());
  out->mutable_started()->set_turn(event.turn);
}

void RenderInto(const PrefillProgressEvent& event, v1::GenerateResponse* out) {
  out->mutable_prefill_progress()->set_done(event.done);
  out->mutable_prefill_progress()->set_total(event.total);
}

void RenderInto(const FoldedEvent& event, v1::GenerateResponse* out) {
  for (const FoldReport& layer : event.layers) Render(layer, out->mutable_folded()->add_layers());
  Render(event.cache, out->mutable_folded()->mutable_cache());
}

void RenderInto(const DeltaEvent& event, v1::GenerateResponse* out) {
  v1::Delta* delta = out->mutable_delta();
  delta->set_text(event.text);
  delta->mutable_token_ids()->Add(event.token_ids.begin(), event.token_ids.end());
  delta->mutable_logprobs()->Add(event.logprobs.begin(), event.logprobs.end());
}

void RenderQuality(const TurnQuality& quality, v1::Quality* out) {
  if (quality.measured) {
    out->set_attention_mass_kept(quality.mass_kept_mean);
    out->set_lowest_attention_mass_kept(quality.mass_kept_lowest);
    out->set_lowest_layer(quality.lowest_layer);
  }
  if (quality.probe_tokens > 0) {
    v1::Probe* probe = out->mutable_probe();
    probe->set_tokens(quality.probe_tokens);
    probe->set_agreement(quality.agreement());
    probe->set_kl_divergence(quality.kl_divergence());
  }
  out->set_budget_entries(quality.budget_entries);
  out->set_raised_for_quality(quality.raised_for_quality);
  out->set_raises(quality.raises);
  out->set_below_min_quality(quality.below_min_quality);
}

void RenderInto(const CompletedEvent& event, v1::GenerateResponse* out) {
  v1::Completed* completed = out->mutable_completed();
  completed->set_finish_reason(Render(event.finish_reason));
  v1::Usage* usage = completed->mutable_usage();
  usage->set_prompt_tokens(event.prompt_tokens);
  usage->set_image_tokens(event.image_tokens);
  usage->set_carried_tokens(event.carried_tokens);
  usage->set_generated_tokens(event.generated_tokens);
  Render(event.cache, completed->mutable_cache());
  v1::Timings* timings = completed->mutable_timings();
  RenderDuration(event.timings.queue, timings->mutable_queue());
  RenderDuration(event.timings.vision, timings->mutable_vision());
  RenderDuration(event.timings.prefill, timings->mutable_prefill());
  RenderDuration(event.timings.fold, timings->mutable_fold());
  RenderDuration(event.timings.probe, timings->mutable_probe());
  RenderDuration(event.timings.time_to_first_token, timings->mutable_time_to_first_token());
  RenderDuration(event.timings.decode, timings->mutable_decode());
  timings->set_tokens_per_second(event.timings.tokens_per_second);
  completed->set_turn(event.turn);
  RenderQuality(event.quality, completed->mutable_quality());
}

}  // namespace

v1::GenerateResponse Render(const TurnEvent& event) {
  v1::GenerateResponse response;
  std::visit([&](const auto& alternative) { RenderInto(alternative, &response); }, event);
  return response;
}

v1::GenerateResponse Render(const DeltaEvent& delta) {
  v1::GenerateResponse response;
  RenderInto(delta, &response);
  return response;
}

bool ReplaceProgress(v1::GenerateResponse& next, v1::GenerateResponse* last) {
  if (!next.has_prefill_progress() || !last->has_prefill_progress()) return false;
  *last = std::move(next);
  return true;
}

}  // namespace concertina
