#include <gtest/gtest.h>

#include <chrono>

#include "server/rpc/render/cache.h"
#include "server/rpc/render/events.h"

namespace concertina {
namespace {

using std::chrono::milliseconds;

CacheSnapshot Snapshot() {
  CacheSnapshot cache;
  cache.budget = Budget::Tokens(64);
  cache.budget_entries = 1;
  cache.raised_to_floor = true;
  cache.used_bytes = 2;
  cache.payload_bytes = 3;
  cache.live_entries = 4;
  cache.tokens_seen = 5;
  cache.full_bytes = 6;
  cache.next_position = 7;
  return cache;
}

TEST(RenderTest, CacheStateIsComplete) {
  v1::CacheState state;
  Render(Snapshot(), &state);
  EXPECT_EQ(state.budget().tokens(), 64);
  EXPECT_EQ(state.budget_entries(), 1);
  EXPECT_TRUE(state.raised_to_floor());
  EXPECT_EQ(state.used_bytes(), 2);
  EXPECT_EQ(state.payload_bytes(), 3);
  EXPECT_EQ(state.live_entries(), 4);
  EXPECT_EQ(state.tokens_seen(), 5);
  EXPECT_EQ(state.full_bytes(), 6);
  EXPECT_EQ(state.next_position(), 7);
}

TEST(RenderTest, SessionIsComplete) {
  SessionInfo info;
  info.session_id = "id";
  info.busy = true;
  info.turns = 3;
  info.policy = "elastic";
  info.policy_options.pure_sink = true;
  info.policy_options.merge = MergeMode::kMass;
  info.on_context_end = OnContextEnd::kRefuse;
  info.entry_type = EntryType::kBf16;
  info.turn_fold = TurnFold::kFair;
  info.pin_system_prompt = true;
  info.created = std::chrono::system_clock::time_point(milliseconds(1500));
  info.last_used = std::chrono::system_clock::time_point(milliseconds(-500));
  v1::Session session;
  Render(info, &session);
  EXPECT_EQ(session.state(), v1::SESSION_STATE_BUSY);
  EXPECT_EQ(session.turns(), 3);
  EXPECT_EQ(session.policy().merge(), v1::MERGE_MODE_MASS);
  EXPECT_TRUE(session.policy().pure_sink());
  EXPECT_EQ(session.policy().on_context_end(), v1::ON_CONTEXT_END_REFUSE);
  EXPECT_EQ(session.policy().entry_type(), v1::ENTRY_TYPE_BF16);
  EXPECT_EQ(session.policy().turn_fold(), v1::TURN_FOLD_FAIR);
  EXPECT_TRUE(session.policy().pin_system_prompt());
  EXPECT_EQ(session.create_time().seconds(), 1);
  EXPECT_EQ(session.create_time().nanos(), 500'000'000);
  EXPECT_EQ(session.last_used_time().seconds(), -1);
  EXPECT_EQ(session.last_used_time().nanos(), 500'000'000);
}

TEST(RenderTest, ASessionSaysHowOftenItsPromptsWereRead) {
  SessionInfo info;
  info.policy = "concertina-hq";
  info.policy_options.repeat_when_idle = true;
  info.repeated_turns = 2;
  v1::Session session;
  Render(info, &session);
  EXPECT_TRUE(session.policy().repeat_when_idle());
  EXPECT_EQ(session.repeated_turns(), 2);
}

TEST(RenderTest, CompletedIsComplete) {
  CompletedEvent event{FinishReason::kStopString, 10, 8, 6, 4, Snapshot(), {}, 2};
  event.timings.prefill = milliseconds(2500);
  event.timings.tokens_per_second = 12.5;
  event.timings.probe = milliseconds(30);
  event.quality = {.measured = true,
                   .mass_kept_mean = 0.9,
                   .mass_kept_lowest = 0.5,
                   .lowest_layer = 2,
                   .probe_tokens = 8,
                   .agreeing = 6,
                   .divergence = 0.4,
                   .budget_entries = 96,
                   .raises = 1,
                   .raised_for_quality = true};
  const v1::Completed completed = Render(TurnEvent(event)).completed();
  EXPECT_EQ(completed.finish_reason(), v1::FINISH_REASON_STOP_STRING);
  EXPECT_EQ(completed.usage().prompt_tokens(), 10);
  EXPECT_EQ(completed.usage().image_tokens(), 8);
  EXPECT_EQ(completed.usage().carried_tokens(), 6);
  EXPECT_EQ(completed.usage().generated_tokens(), 4);
  EXPECT_EQ(completed.timings().prefill().seconds(), 2);
  EXPECT_EQ(completed.timings().prefill().nanos(), 500'000'000);
  EXPECT_EQ(completed.timings().tokens_per_second(), 12.5);
  EXPECT_EQ(completed.turn(), 2);
  EXPECT_EQ(completed.timings().probe().nanos(), 30'000'000);
  const v1::Quality& quality = completed.quality();
  EXPECT_EQ(quality.attention_mass_kept(), 0.9);
  EXPECT_EQ(quality.lowest_attention_mass_kept(), 0.5);
  EXPECT_EQ(quality.lowest_layer(), 2);
  EXPECT_EQ(quality.probe().tokens(), 8);
  EXPECT_EQ(quality.probe().agreement(), 0.75);
  EXPECT_EQ(quality.probe().kl_divergence(), 0.05);
  EXPECT_EQ(quality.budget_entries(), 96);
  EXPECT_EQ(quality.raises(), 1);
  EXPECT_TRUE(quality.raised_for_quality());
  EXPECT_FALSE(quality.below_min_quality());
}

TEST(RenderTest, WhatWasNotMeasuredIsNotSaid) {
  const CompletedEvent event{FinishReason::kStop, 10, 8, 6, 4, Snapshot(), {}, 2};
  const v1::Quality quality = Render(TurnEvent(event)).completed().quality();
  EXPECT_FALSE(quality.has_attention_mass_kept());
  EXPECT_FALSE(quality.has_lowest_attention_mass_kept());
  EXPECT_FALSE(quality.has_probe());
}

TEST(RenderTest, FoldedHasOneEntryPerLayer) {
  FoldReport report;
  report.entries_before = 10;
  report.entries_after = 2;
  report.bytes_before = 100;
  report.bytes_after = 20;
  report.mass_kept = 0.75;
  const v1::Folded folded = Render(TurnEvent(FoldedEvent{{report, report}, Snapshot()})).folded();
  ASSERT_EQ(folded.layers_size(), 2);
  EXPECT_EQ(folded.layers(1).entries_after(), 2);
  EXPECT_EQ(folded.layers(1).attention_mass_kept(), 0.75);
  EXPECT_EQ(folded.cache().tokens_seen(), 5);
}

TEST(RenderTest, DeltaHasTextTokensAndLogprobs) {
  const v1::Delta delta = Render(DeltaEvent{"ab", {1, 2}, {-1.0F, -2.0F}}).delta();
  EXPECT_EQ(delta.text(), "ab");
  EXPECT_EQ(delta.token_ids_size(), 2);
  EXPECT_EQ(delta.logprobs(1), -2.0F);
}

TEST(RenderTest, NewerProgressReplacesOlderAndNothingElse) {
  v1::GenerateResponse progress = Render(TurnEvent(PrefillProgressEvent{1, 9}));
  v1::GenerateResponse newer = Render(TurnEvent(PrefillProgressEvent{5, 9}));
  ASSERT_TRUE(ReplaceProgress(newer, &progress));
  EXPECT_EQ(progress.prefill_progress().done(), 5);
  v1::GenerateResponse text = Render(DeltaEvent{"ab", {1}, {}});
  EXPECT_FALSE(ReplaceProgress(progress, &text));
  EXPECT_EQ(text.delta().text(), "ab");
}

}  // namespace
}  // namespace concertina
