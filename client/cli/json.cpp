#include "client/cli/json.h"

#include <cstdio>
#include <string>

#include "absl/strings/ascii.h"
#include "client/budget_text.h"
#include "client/cli/text.h"
#include "client/errors.h"

namespace concertina::cli {
namespace {

using nlohmann::json;

std::string Plain(const std::string& name, size_t prefix) {
  return absl::AsciiStrToLower(name.size() > prefix ? name.substr(prefix) : name);
}

double Seconds(const google::protobuf::Timestamp& time) {
  return static_cast<double>(time.seconds()) + time.nanos() * 1e-9;
}

std::string Name(v1::EntryType type) {
  return Plain(v1::EntryType_Name(type), sizeof("ENTRY_TYPE_") - 1);
}

json ToJson(const google::protobuf::RepeatedPtrField<v1::WeightCopy>& copies) {
  json list = json::array();
  for (const v1::WeightCopy& copy : copies) {
    list.push_back({{"role", RoleName(copy.role())},
                    {"type", copy.type()},
                    {"bytes", copy.bytes()},
                    {"parameters", copy.parameters()},
                    {"bytes_per_parameter", copy.bytes_per_parameter()},
                    {"rows_from", copy.rows_from()},
                    {"read_bytes_per_second", copy.read_bytes_per_second()},
                    {"operations_per_second", copy.operations_per_second()}});
  }
  return list;
}

json ToJson(const v1::Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens()},
          {"image_tokens", usage.image_tokens()},
          {"carried_tokens", usage.carried_tokens()},
          {"generated_tokens", usage.generated_tokens()}};
}

json ToJson(const v1::Timings& timings) {
  return {{"queue", cli::Seconds(timings.queue())},
          {"vision", cli::Seconds(timings.vision())},
          {"prefill", cli::Seconds(timings.prefill())},
          {"fold", cli::Seconds(timings.fold())},
          {"time_to_first_token", cli::Seconds(timings.time_to_first_token())},
          {"decode", cli::Seconds(timings.decode())},
          {"probe", cli::Seconds(timings.probe())},
          {"tokens_per_second", timings.tokens_per_second()}};
}

}  // namespace

json ToJson(const absl::Status& status) {
  const client::ErrorDetails details = client::DetailsOf(status);
  json out = {{"code", absl::StatusCodeToString(status.code())},
              {"message", std::string(status.message())}};
  if (!details.reason.empty()) out["reason"] = details.reason;
  if (!details.field.empty()) out["field"] = details.field;
  if (details.retry_after.has_value()) out["retry_after_ms"] = details.retry_after->count();
  return out;
}

json ToJson(const v1::CacheState& cache) {
  return {{"budget", client::FormatBudget(cache.budget())},
          {"budget_entries", cache.budget_entries()},
          {"raised_to_floor", cache.raised_to_floor()},
          {"used_bytes", cache.used_bytes()},
          {"payload_bytes", cache.payload_bytes()},
          {"live_entries", cache.live_entries()},
          {"tokens_seen", cache.tokens_seen()},
          {"full_bytes", cache.full_bytes()},
          {"next_position", cache.next_position()},
          {"shared_bytes", cache.shared_bytes()}};
}

json ToJson(const v1::CachePolicy& policy) {
  json out = {{"name", policy.name()},
              {"entry_type", Name(policy.entry_type())},
              {"on_context_end", Plain(v1::OnContextEnd_Name(policy.on_context_end()),
                                       sizeof("ON_CONTEXT_END_") - 1)}};
  out["turn_fold"] = Plain(v1::TurnFold_Name(policy.turn_fold()), sizeof("TURN_FOLD_") - 1);
  out["pin_system_prompt"] = policy.pin_system_prompt();
  if (policy.image_budget() > 0) {
    out["image_budget"] = policy.image_budget();
    out["merge_images"] = policy.merge_images();
  }
  if (policy.probe_tokens() > 0) out["probe_tokens"] = policy.probe_tokens();
  if (policy.min_quality() > 0) out["min_quality"] = policy.min_quality();
  if (policy.adaptive_heads()) out["adaptive_heads"] = true;
  if (policy.name() == "concertina-hq") out["repeat_when_idle"] = policy.repeat_when_idle();
  if (policy.name() == "elastic") {
    out["pure_sink"] = policy.pure_sink();
    out["merge"] = Plain(v1::MergeMode_Name(policy.merge()), sizeof("MERGE_MODE_") - 1);
  }
  return out;
}

json ToJson(const v1::Session& session) {
  json out = {
      {"session_id", session.session_id()},
      {"state", Plain(v1::SessionState_Name(session.state()), sizeof("SESSION_STATE_") - 1)},
      {"turns", session.turns()},
      {"policy", ToJson(session.policy())},
      {"cache", ToJson(session.cache())},
      {"create_time", Seconds(session.create_time())},
      {"last_used_time", Seconds(session.last_used_time())},
      {"evicted", session.evicted()},
      {"transcript_bytes", session.transcript_bytes()}};
  if (session.policy().name() == "concertina-hq") out["repeated_turns"] = session.repeated_turns();
  if (session.has_expire_time()) out["expire_time"] = Seconds(session.expire_time());
  return out;
}

json ToJson(const v1::Quality& quality) {
  json out = {{"budget_entries", quality.budget_entries()},
              {"raised_for_quality", quality.raised_for_quality()},
              {"raises", quality.raises()},
              {"below_min_quality", quality.below_min_quality()}};
  if (quality.has_attention_mass_kept()) {
    out["attention_mass_kept"] = quality.attention_mass_kept();
    out["lowest_attention_mass_kept"] = quality.lowest_attention_mass_kept();
    out["lowest_layer"] = quality.lowest_layer();
  }
  if (quality.has_probe()) {
    out["probe"] = {{"tokens", quality.probe().tokens()},
                    {"agreement", quality.probe().agreement()},
                    {"kl_divergence", quality.probe().kl_divergence()}};
  }
  return out;
}

json ToJson(const v1::Folded& folded) {
  const FoldTotals totals = TotalsOf(folded);
  return {{"layers", folded.layers_size()},        {"entries_before", totals.entries_before},
          {"entries_after", totals.entries_after}, {"bytes_before", totals.bytes_before},
          {"bytes_after", totals.bytes_after},     {"attention_mass_kept", totals.mass_kept},
          {"ratio", CacheRatio(folded.cache())},   {"cache", ToJson(folded.cache())}};
}

std::string RoleName(v1::WeightRole role) {
  return Plain(v1::WeightRole_Name(role), sizeof("WEIGHT_ROLE_") - 1);
}

json ToJson(const v1::GetModelResponse& model) {
  return {{"name", model.name()},
          {"chat_family", model.chat_family()},
          {"layers", model.layers()},
          {"heads", model.heads()},
          {"kv_heads", model.kv_heads()},
          {"head_dim", model.head_dim()},
          {"hidden_size", model.hidden_size()},
          {"vocab_size", model.vocab_size()},
          {"max_positions", model.max_positions()},
          {"image_tokens", model.image_tokens()},
          {"weight_type", model.weight_type()},
          {"weight_bytes", model.weight_bytes()},
          {"weight_copies", ToJson(model.weight_copies())},
          {"parameters", model.parameters()},
          {"kernels", model.kernels()},
          {"device", model.device()},
          {"deterministic", model.deterministic()},
          {"default_policy", ToJson(model.default_policy())},
          {"default_budget", client::FormatBudget(model.default_budget())},
          {"default_entry_type", Name(model.default_entry_type())},
          {"policies", std::vector<std::string>(model.policies().begin(), model.policies().end())}};
}

json ToJson(const v1::GetLoadResponse& load) {
  return {{"requests_running", load.requests_running()},
          {"max_running", load.max_running()},
          {"requests_waiting", load.requests_waiting()},
          {"max_waiting", load.max_waiting()},
          {"sessions_active", load.sessions_active()},
          {"sessions_busy", load.sessions_busy()},
          {"sessions_evicted", load.sessions_evicted()},
          {"max_sessions", load.max_sessions()},
          {"pool_used_bytes", load.pool_used_bytes()},
          {"pool_reserved_bytes", load.pool_reserved_bytes()},
          {"pool_capacity_bytes", load.pool_capacity_bytes()},
          {"transcript_bytes", load.transcript_bytes()},
          {"workspace_bytes", load.workspace_bytes()},
          {"weights_bytes", load.weights_bytes()},
          {"image_cache_bytes", load.image_cache_bytes()},
          {"resident_bytes", load.resident_bytes()},
          {"draining", load.draining()},
          {"calls_in_flight", load.calls_in_flight()}};
}

json ToJson(const client::Answer& answer) {
  json out = {{"text", answer.text}, {"token_ids", answer.token_ids}, {"stopped", answer.stopped}};
  if (!answer.logprobs.empty()) out["logprobs"] = answer.logprobs;
  if (answer.folded.has_value()) out["folded"] = ToJson(*answer.folded);
  if (answer.stopped) return out;
  const v1::Completed& completed = answer.completed;
  out["finish_reason"] =
      Plain(v1::FinishReason_Name(completed.finish_reason()), sizeof("FINISH_REASON_") - 1);
  out["turn"] = completed.turn();
  out["usage"] = ToJson(completed.usage());
  out["cache"] = ToJson(completed.cache());
  out["timings"] = ToJson(completed.timings());
  out["quality"] = ToJson(completed.quality());
  return out;
}

void PrintJson(const json& value) {
  const std::string line = value.dump(-1, ' ', false, json::error_handler_t::replace);
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

}  // namespace concertina::cli
