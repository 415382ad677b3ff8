#include "client/eval/measurer.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/eval/chat_runner.h"
#include "client/eval/digest.h"

namespace concertina::eval {
namespace {

constexpr double kBf16Bytes = 2;

// Where the same record may give another result. Not the threads or the kernels: with f32 weights
// they make no difference, with others hardly any.
std::string IdentityOf(const v1::GetModelResponse& model) {
  return absl::StrCat(model.name(), "\n", model.weight_type(), "\n", model.parameters(), "\n",
                      model.device(), "\n", static_cast<int>(model.default_entry_type()));
}

double TokenBytes(const v1::GetModelResponse& model) {
  return 2 * kBf16Bytes * model.layers() * model.kv_heads() * model.head_dim();
}

void Set(const Sequence& sequence, v1::TokenSequence* out) {
  if (sequence.ids.empty()) return out->set_text(sequence.text);
  out->mutable_ids()->mutable_ids()->Add(sequence.ids.begin(), sequence.ids.end());
}

void Set(const std::vector<int32_t>& ids, v1::TokenSequence* out) {
  out->mutable_ids()->mutable_ids()->Add(ids.begin(), ids.end());
}

v1::ScoreRequest RequestFor(const Setting& setting) {
  v1::ScoreRequest request;
  *request.mutable_policy() = setting.policy;
  *request.mutable_budget() = setting.budget;
  request.set_fold(setting.fold);
  return request;
}

}  // namespace

Measurer::Measurer(client::Client& client, const v1::GetModelResponse& model,
                   MeasureOptions options, const std::atomic<bool>& stopped)
    : client_(client),
      options_(std::move(options)),
      stopped_(stopped),
      model_identity_(IdentityOf(model)),
      token_bytes_(TokenBytes(model)) {}

std::string Measurer::KeyOf(const Record& record, const Setting& setting) const {
  std::string all = absl::StrCat(record.digest, "\n", setting.policy.SerializeAsString(), "\n",
                                 setting.budget.SerializeAsString(), "\n", model_identity_, "\n");
  if (std::holds_alternative<Chat>(record.content)) {
    absl::StrAppend(&all, "tokens ", options_.max_tokens);
  } else if (std::holds_alternative<ProbedConversation>(record.content)) {
    absl::StrAppend(&all, "probes ", options_.probe_every);
  } else {
    absl::StrAppend(&all, setting.FoldName());
  }
  return Sha256(all);
}

absl::StatusOr<Cell> Measurer::Measure(const Record& record, const Setting& setting) const {
  Cell cell{.key = KeyOf(record, setting),
            .record = record.name,
            .task = record.task,
            .setting = setting.Name()};
  const auto begin = std::chrono::steady_clock::now();
  const absl::Status status =
      std::visit([&](const auto& content) { return Run(content, setting, cell); }, record.content);
  if (!status.ok()) return status;
  cell.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return cell;
}

absl::StatusOr<v1::ScoreResponse> Measurer::Score(const v1::ScoreRequest& request) const {
  if (stopped_) return absl::CancelledError("stopped");
  auto response = client_.Score(request);
  if (!response.ok()) return response;
  const int tokens = response->continuation_ids_size();
  if (tokens == 0 || response->logprobs_size() != tokens || response->argmax_ids_size() != tokens ||
      response->choice_logprobs_size() != request.choices_size()) {
    return absl::InternalError("the server did not score every token");
  }
  return response;
}

absl::Status Measurer::Run(const ScoredPrompt& prompt, const Setting& setting, Cell& cell) const {
  v1::ScoreRequest request = RequestFor(setting);
  Set(prompt.prompt, request.mutable_prompt());
  Set(prompt.continuation, request.mutable_continuation());
  request.set_allow_special(prompt.special);
  const auto response = Score(request);
  if (!response.ok()) return response.status();
  const int tokens = response->logprobs_size();
  if (tokens < 2) {
    return absl::InvalidArgumentError("the continuation has one token only: nothing to score");
  }
  Scores scores{.data_full_nll = prompt.full_nll};
  for (int i = 1; i < tokens; ++i) {
    scores.nll -= response->logprobs(i);
    scores.argmax.push_back(response->argmax_ids(i));
  }
  scores.nll /= tokens - 1;
  cell.scores = std::move(scores);
  cell.share = ShareOf(response->cache());
  return absl::OkStatus();
}

absl::Status Measurer::Run(const ProbedConversation& conversation, const Setting& setting,
                           Cell& cell) const {
  const auto& turns = conversation.turns;
  double share = 0;
  for (size_t after = 1; after <= turns.size(); ++after) {
    const bool due = after % static_cast<size_t>(options_.probe_every) == 0;
    if (!due && after != turns.size()) continue;
    v1::ScoreRequest request = RequestFor(setting);
    request.set_fold(v1::SCORE_FOLD_PREFILL_ONLY);  // a probe is no part of the conversation
    for (size_t i = 0; i + 1 < after; ++i) Set(turns[i].ids, request.add_turns());
    Set(turns[after - 1].ids, request.mutable_prompt());
    for (size_t i = 0; i < after; ++i) {
      if (turns[i].probe.empty()) continue;
      v1::ScoreRequest probe = request;
      Set(turns[i].probe, probe.mutable_continuation());
      probe.mutable_continuation()->mutable_ids()->add_ids(turns[i].gold);
      probe.mutable_choices()->Add(turns[i].choices.begin(), turns[i].choices.end());
      const auto response = Score(probe);
      if (!response.ok()) return response.status();
      const auto& scores = response->choice_logprobs();
      const auto best = std::max_element(scores.begin(), scores.end()) - scores.begin();
      cell.probes.push_back(
          {.after = static_cast<int>(after),
           .turn = static_cast<int>(i) + 1,
           .right = turns[i].choices[static_cast<size_t>(best)] == turns[i].gold});
      share += ShareOf(response->cache());
    }
  }
  if (!cell.probes.empty()) cell.share = share / static_cast<double>(cell.probes.size());
  return absl::OkStatus();
}

absl::Status Measurer::Run(const Chat& chat, const Setting& setting, Cell& cell) const {
  return ChatRunner(*this, chat, setting, cell).Run();
}

double Measurer::ShareOf(const v1::CacheState& cache) const {
  const double full = token_bytes_ * static_cast<double>(cache.tokens_seen());
  return full > 0 ? static_cast<double>(cache.payload_bytes()) / full : 1;
}

}  // namespace concertina::eval
