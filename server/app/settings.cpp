#include "server/app/settings.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cache/policies/policy.h"
#include "server/app/units.h"

namespace concertina {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int64_t kKiB = int64_t{1} << 10;
constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kTiB = int64_t{1} << 40;

template <typename T>
Field<T> Of(T ConfigDraft::*member) {
  return [member](ConfigDraft& draft) -> T& { return draft.*member; };
}
template <typename T>
Field<T> Of(T ServerConfig::*member) {
  return [member](ConfigDraft& draft) -> T& { return draft.config.*member; };
}
template <typename T>
Field<T> Of(T EngineOptions::*member) {
  return [member](ConfigDraft& draft) -> T& { return draft.config.engine.*member; };
}
template <typename T>
Field<T> Of(T RpcLimits::*member) {
  return [member](ConfigDraft& draft) -> T& { return draft.config.limits.*member; };
}
template <typename T>
Field<T> Of(T ImageLimits::*member) {
  return [member](ConfigDraft& draft) -> T& { return draft.config.limits.images.*member; };
}

void AddWeights(std::vector<Setting>& all, const char* group) {
  all.push_back(
      ChoiceSetting({"weights", group, "Type of the weights; auto: the fastest, measured"},
                    {"auto", "f32", "bf16", "int8", "stored"}, Of(&ConfigDraft::weights)));
  all.push_back(ChoiceSetting(
      {"weights-prefill", group, "Type of a second copy for prompts; same: as weights says"},
      {"same", "f32", "bf16", "int8", "stored"}, Of(&ConfigDraft::weights_prefill)));
  all.push_back(
      ChoiceSetting({"weights-vision", group, "Type of the vision tower; auto: as weights says"},
                    {"auto", "f32", "bf16", "int8"}, Of(&ConfigDraft::weights_vision)));
}

Setting DeviceSetting(std::string group) {
  Setting setting;
  setting.name = "device";
  setting.group = std::move(group);
  setting.type = "cpu|torch:cpu|cuda|cuda:N";
  setting.help = "Where the language model runs; cpu: the server's own kernels";
  setting.set = [](const std::string& value, ConfigDraft& draft) -> absl::Status {
    if (value != kHostDevice && !IsDeviceName(value)) {
      return absl::InvalidArgumentError("\"" + value + "\" is not cpu, torch:cpu, cuda or cuda:N");
    }
    draft.config.device = value;
    return absl::OkStatus();
  };
  setting.get = [](ConfigDraft& draft) { return draft.config.device; };
  return setting;
}

void AddModel(std::vector<Setting>& all) {
  const char* const group = "Model";
  all.push_back(
      TextSetting({"model", group, "GGUF file or Hugging Face folder; empty: the bundled model"},
                  "PATH", Of(&ConfigDraft::model)));
  all.push_back(TextSetting({"vision", group, "Vision adapter folder of a GGUF model, or none"},
                            "PATH|none", Of(&ConfigDraft::vision)));
  all.push_back(
      TextSetting({"model-name", group, "Name to serve the model under; empty: the file's"}, "NAME",
                  Of(&ServerConfig::model_name)));
  all.push_back(TextSetting({"chat-family", group, "Chat family, for templates that are not known"},
                            "NAME", Of(&ServerConfig::chat_family)));
  all.push_back(DeviceSetting(group));
  AddWeights(all, group);
  all.push_back(NumberSetting({"threads", group, "Compute threads; 0: all cores"}, 0, 1024,
                              Of(&EngineOptions::threads)));
}

Setting BudgetSetting(std::string group) {
  Setting setting;
  setting.name = "budget";
  setting.group = std::move(group);
  setting.type = "BUDGET";
  setting.help = "Cache budget of sessions that name none: 0.2, 256t or 64MiB";
  setting.set = [](const std::string& value, ConfigDraft& draft) -> absl::Status {
    const auto budget = ParseBudgetText(value);
    if (!budget.ok()) {
      return absl::InvalidArgumentError("\"" + value + "\" is " +
                                        std::string(budget.status().message()));
    }
    draft.config.engine.default_budget = *budget;
    return absl::OkStatus();
  };
  setting.get = [](ConfigDraft& draft) { return FormatBudget(draft.config.engine.default_budget); };
  return setting;
}

Setting ImageBudgetSetting(std::string group) {
  Setting setting;
  setting.name = "image-budget";
  setting.group = std::move(group);
  setting.type = "0..1";
  setting.help =
      "Share of a picture's tokens that stays, of sessions that name none and can have one; 0: no "
      "budget of its own";
  setting.number = true;
  setting.set = [](const std::string& value, ConfigDraft& draft) -> absl::Status {
    double share = 0;
    if (!absl::SimpleAtod(value, &share) || !(share >= 0 && share <= 1)) {
      return absl::InvalidArgumentError("\"" + value + "\" is not a number from 0 to 1");
    }
    draft.config.engine.default_image_budget = share;
    return absl::OkStatus();
  };
  setting.get = [](ConfigDraft& draft) {
    return absl::StrCat(draft.config.engine.default_image_budget);
  };
  return setting;
}

void AddCache(std::vector<Setting>& all) {
  const char* const group = "Cache";
  all.push_back(SizeSetting({"pool-bytes", group, "Size of the cache pool"}, 64 * kKiB, 64 * kTiB,
                            Of(&EngineOptions::pool_bytes)));
  all.push_back(ChoiceSetting({"kv", group, "Type of cached keys and values; auto: as the weights"},
                              {"auto", "f32", "bf16", "int8", "packed"}, Of(&ConfigDraft::kv)));
  all.push_back(ChoiceSetting({"policy", group, "Cache policy of sessions that name none"},
                              {PolicyNames().begin(), PolicyNames().end()},
                              Of(&EngineOptions::default_policy)));
  all.push_back(BudgetSetting(group));
  all.push_back(ImageBudgetSetting(group));
  all.push_back(NumberSetting(
      {"probe-tokens", group, "Tokens of each prompt probed, of sessions that name none; 0: none"},
      0, kProbeTokensMax, Of(&EngineOptions::default_probe_tokens)));
}

Setting PrefillShareSetting(std::string group) {
  constexpr double kLeast = 0.05, kMost = 20;
  Setting setting;
  setting.name = "prefill-share";
  setting.group = std::move(group);
  setting.type = "0.05..20";
  setting.help = "While answers run, time for prompts between two decode steps, in decode steps";
  setting.number = true;
  setting.set = [](const std::string& value, ConfigDraft& draft) -> absl::Status {
    double share = 0;
    if (!absl::SimpleAtod(value, &share) || !(share >= kLeast && share <= kMost)) {
      return absl::InvalidArgumentError("\"" + value + "\" is not a number from 0.05 to 20");
    }
    draft.config.engine.prefill_share = share;
    return absl::OkStatus();
  };
  setting.get = [](ConfigDraft& draft) { return absl::StrCat(draft.config.engine.prefill_share); };
  return setting;
}

void AddTurns(std::vector<Setting>& all) {
  const char* const group = "Turns";
  all.push_back(NumberSetting({"max-batch", group, "Turns in prefill or decoding together"}, 1,
                              4096, Of(&EngineOptions::max_batch)));
  all.push_back(
      NumberSetting({"max-queued-turns", group, "Turns waiting for admission; more are refused"}, 1,
                    65536, Of(&EngineOptions::max_queued_turns)));
  all.push_back(DurationSetting({"queue-timeout", group, "A turn that waited this long is refused"},
                                milliseconds(100), hours(24), false,
                                Of(&EngineOptions::max_queue_wait)));
  all.push_back(
      NumberSetting({"max-tokens", group, "Tokens of an answer when the request names none"}, 1,
                    1 << 20, Of(&EngineOptions::max_tokens_default)));
  all.push_back(NumberSetting({"max-tokens-limit", group, "The most tokens a request may ask for"},
                              1, 1 << 20, Of(&EngineOptions::max_tokens_limit)));
  all.push_back(PrefillShareSetting(group));
  all.push_back(DurationSetting(
      {"prefill-step", group, "The longest that prompts are computed between two decode steps"},
      milliseconds(0), seconds(10), true, Of(&EngineOptions::prefill_step)));
  all.push_back(
      NumberSetting({"prefill-slice", group, "The most prompt rows of one layer computed together"},
                    16, 8192, Of(&EngineOptions::prefill_slice_rows)));
}

void AddSessions(std::vector<Setting>& all) {
  const char* const group = "Sessions";
  all.push_back(NumberSetting({"max-sessions", group, "Open sessions"}, 1, 1 << 20,
                              Of(&EngineOptions::max_sessions)));
  all.push_back(DurationSetting(
      {"idle-timeout", group, "A session without a turn for this long is closed; 0: never"},
      milliseconds(100), hours(24 * 365), true, Of(&EngineOptions::session_idle_timeout)));
  all.push_back(SizeSetting(
      {"max-session-transcript-bytes", group, "Tokens and pictures one session remembers"}, kKiB,
      kTiB, Of(&EngineOptions::max_session_transcript_bytes)));
  all.push_back(
      SizeSetting({"max-transcript-bytes", group, "Tokens and pictures all sessions remember"},
                  kKiB, 64 * kTiB, Of(&EngineOptions::max_transcript_bytes)));
}

void AddCalls(std::vector<Setting>& all) {
  const char* const group = "Calls";
  all.push_back(NumberSetting({"max-calls", group, "Calls in flight, all methods"}, 1, 1 << 20,
                              Of(&RpcLimits::max_calls)));
  all.push_back(
      NumberSetting({"max-calls-per-connection", group, "Calls in flight of one connection"}, 1,
                    1 << 20, Of(&RpcLimits::max_calls_per_connection)));
  all.push_back(
      SizeSetting({"max-request-bytes", group, "Memory that requests in flight hold together"},
                  32 * kMiB, kTiB, Of(&RpcLimits::max_request_bytes)));
  all.push_back(NumberSetting({"max-uploads", group, "Uploads of pictures in flight"}, 1, 65536,
                              Of(&RpcLimits::max_uploads)));
  all.push_back(DurationSetting(
      {"stall-timeout", group, "A stream whose client takes nothing for this long is cancelled"},
      milliseconds(100), hours(1), false, Of(&RpcLimits::stall_timeout)));
}

void AddPictures(std::vector<Setting>& all) {
  const char* const group = "Pictures";
  all.push_back(NumberSetting({"max-decoders", group, "Pictures decoded at the same time"}, 1, 256,
                              Of(&RpcLimits::max_decoders)));
  all.push_back(
      SizeSetting({"image-store-bytes", group, "Pictures kept, least recently used out first"},
                  64 * kKiB, kTiB, Of(&RpcLimits::image_store_bytes)));
  all.push_back(SizeSetting({"max-image-bytes", group, "Size of a picture's file"}, kKiB, 64 * kMiB,
                            Of(&ImageLimits::max_bytes)));
  all.push_back(Number64Setting({"max-image-pixels", group, "Width times height of a picture"}, 4,
                                int64_t{1} << 28, Of(&ImageLimits::max_pixels)));
  all.push_back(NumberSetting({"max-image-side", group, "Width and height of a picture"}, 2, 65535,
                              Of(&ImageLimits::max_side)));
}

void AddProcess(std::vector<Setting>& all) {
  const char* const group = "Process";
  all.push_back(AddressSetting({"listen", group, "Address of gRPC; port 0 takes a free one"}, false,
                               Of(&ServerConfig::listen)));
  all.push_back(
      AddressSetting({"admin-listen", group,
                      "Address of AdminService and channelz: no credentials, keep it private"},
                     true, Of(&ServerConfig::admin_listen)));
  all.push_back(AddressSetting({"metrics-listen", group, "Address of /metrics"}, true,
                               Of(&ServerConfig::metrics_listen)));
  all.push_back(TextSetting({"port-file", group, "File to write the gRPC port to when ready"},
                            "PATH", Of(&ServerConfig::port_file)));
  all.push_back(
      DurationSetting({"grace-period", group, "Turns in flight may go on this long after SIGTERM"},
                      milliseconds(0), hours(24), true, Of(&ServerConfig::grace_period)));
  all.push_back(ChoiceSetting({"log-format", group, "Lines on stderr"}, {"text", "json"},
                              Of(&ConfigDraft::log_format)));
  all.push_back(ChoiceSetting({"log-level", group, "Least level that is logged"},
                              {"debug", "info", "warning", "error"}, Of(&ServerConfig::log_level)));
}

}  // namespace

const std::vector<Setting>& Settings() {
  static const std::vector<Setting> kSettings = [] {
    std::vector<Setting> all;
    AddModel(all);
    AddCache(all);
    AddTurns(all);
    AddSessions(all);
    AddCalls(all);
    AddPictures(all);
    AddProcess(all);
    return all;
  }();
  return kSettings;
}

}  // namespace concertina
