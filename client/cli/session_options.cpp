#include "client/cli/session_options.h"

#include <map>

#include "client/budget_text.h"

namespace concertina::cli {
namespace {

const std::map<std::string, v1::EntryType> kEntryTypes{{"bf16", v1::ENTRY_TYPE_BF16},
                                                       {"f32", v1::ENTRY_TYPE_F32},
                                                       {"int8", v1::ENTRY_TYPE_INT8},
                                                       {"packed", v1::ENTRY_TYPE_PACKED}};
const std::map<std::string, v1::MergeMode> kMergeModes{{"mean", v1::MERGE_MODE_MEAN},
                                                       {"mass", v1::MERGE_MODE_MASS},
                                                       {"none", v1::MERGE_MODE_NONE},
                                                       {"v_only", v1::MERGE_MODE_V_ONLY}};

const std::map<std::string, v1::TurnFold> kTurnFolds{{"refold", v1::TURN_FOLD_REFOLD},
                                                     {"isolate", v1::TURN_FOLD_ISOLATE},
                                                     {"fair", v1::TURN_FOLD_FAIR}};

std::string CheckBudget(const std::string& text) {
  const auto budget = client::ParseBudget(text);
  return budget.ok() ? std::string() : std::string(budget.status().message());
}

}  // namespace

void CacheFlags::AddTo(CLI::App& command) {
  command.add_option(
      "--policy", policy,
      "Cache policy: concertina, concertina-hq, elastic, full; to compare with: h2o, keydiff, "
      "local, official, prefixkv, random, snapkv");
  command.add_option("--budget", budget, "Cache budget: 0.2 (of the tokens), 256t or 64MiB")
      ->check(CheckBudget);
  command
      .add_option("--entry-type", entry_type,
                  "Type of cached keys and values: bf16, f32, int8, packed")
      ->check(CLI::IsMember({"bf16", "f32", "int8", "packed"}));
  command.add_flag("--pure-sink", pure_sink,
                   "elastic only: the first and last entry accept no merges");
  command.add_flag("--adaptive-heads", adaptive_heads,
                   "concertina only: heads of a layer may differ in how much they keep");
  command.add_option("--merge", merge, "elastic only: mean, mass, none or v_only")
      ->check(CLI::IsMember({"mean", "mass", "none", "v_only"}));
  command
      .add_option("--turn-fold", turn_fold,
                  "How later turns are folded: refold (all entries are ranked again), isolate "
                  "(earlier turns keep what they kept), fair (turns share by length)")
      ->check(CLI::IsMember({"refold", "isolate", "fair"}));
}

void CacheFlags::AddProbeTo(CLI::App& command) {
  command
      .add_option("--probe-tokens", probe_tokens,
                  "Compare what so many tokens of each prompt predict before and after folding")
      ->check(CLI::Range(0, 64));
  command
      .add_option("--min-quality", min_quality,
                  "Raise the budget where fewer of them agree, in (0, 1]")
      ->check(CLI::Range(0.0, 1.0));
  command.add_flag("--repeat-when-idle", repeat_when_idle,
                   "concertina-hq only: read prompts the second time between turns");
}

void CacheFlags::AddImagesTo(CLI::App& command) {
  command
      .add_option("--image-budget", image_budget,
                  "Keep at most this share of a picture's tokens, in (0, 1]; 0: as many as the "
                  "budget has room for")
      ->check(CLI::Range(0.0, 1.0));
  command.add_flag("--merge-images", merge_images,
                   "Merge what it drops into what stays of the picture");
}

bool CacheFlags::has_policy() const {
  return !policy.empty() || !entry_type.empty() || !merge.empty() || !turn_fold.empty() ||
         pure_sink || adaptive_heads || pin_system || probe_tokens || min_quality > 0 ||
         repeat_when_idle || image_budget || merge_images;
}

v1::CachePolicy CacheFlags::Policy() const {
  v1::CachePolicy out;
  out.set_name(policy);
  out.set_pure_sink(pure_sink);
  out.set_adaptive_heads(adaptive_heads);
  if (!entry_type.empty()) out.set_entry_type(kEntryTypes.at(entry_type));
  if (!merge.empty()) out.set_merge(kMergeModes.at(merge));
  if (!turn_fold.empty()) out.set_turn_fold(kTurnFolds.at(turn_fold));
  out.set_pin_system_prompt(pin_system);
  if (probe_tokens) out.set_probe_tokens(*probe_tokens);
  out.set_min_quality(min_quality);
  out.set_repeat_when_idle(repeat_when_idle);
  if (image_budget) out.set_image_budget(*image_budget);
  out.set_merge_images(merge_images);
  return out;
}

v1::Budget CacheFlags::Budget() const { return client::ParseBudget(budget).value(); }

void ConversationFlags::AddTo(CLI::App& command) {
  cache.AddTo(command);
  cache.AddProbeTo(command);
  cache.AddImagesTo(command);
  CLI::Option* system = command.add_option("--system", system_prompt, "System prompt");
  command.add_flag("--pin-system", cache.pin_system, "Keep the system prompt in the cache")
      ->needs(system);
  command.add_option("--max-tokens", ask.max_tokens, "Longest answer, in tokens")
      ->check(CLI::Range(1, 1 << 30));
  command.add_option_function<float>(
      "--temperature", [this](const float& value) { ask.sampling.set_temperature(value); },
      "0 (the default) always takes the likeliest token");
  command.add_option_function<float>(
      "--top-p", [this](const float& value) { ask.sampling.set_top_p(value); },
      "Sample from the smallest set of this probability");
  command.add_option_function<uint64_t>(
      "--seed", [this](const uint64_t& value) { ask.sampling.set_seed(value); },
      "Seed of the sampler");
  command.add_option("--stop", ask.stop, "End the answer before this text (repeatable)")
      ->take_all()
      ->allow_extra_args(false);
}

void ConversationFlags::AddSessionTo(CLI::App& command) {
  CLI::Option* session = command.add_option(
      "--session", session_id, "Talk in this open session, and leave it open at the end");
  for (const char* name :
       {"--policy", "--budget", "--entry-type", "--pure-sink", "--adaptive-heads", "--merge",
        "--turn-fold", "--probe-tokens", "--min-quality", "--repeat-when-idle", "--image-budget",
        "--merge-images", "--system", "--pin-system"}) {
    session->excludes(command.get_option(name));
  }
}

absl::StatusOr<client::Conversation> ConversationFlags::Begin(client::Client& server) const {
  if (!session_id.empty()) return server.Attach(session_id);
  return server.Open(Open());
}

client::OpenOptions ConversationFlags::Open() const {
  client::OpenOptions options;
  options.system_prompt = system_prompt;
  if (cache.has_policy()) options.policy = cache.Policy();
  if (!cache.budget.empty()) options.budget = cache.Budget();
  return options;
}

}  // namespace concertina::cli
