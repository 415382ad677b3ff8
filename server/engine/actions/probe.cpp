#include "server/engine/actions/probe.h"

#include <algorithm>
#include <utility>

#include "server/engine/actions/budget.h"
#include "server/engine/actions/cache_refusal.h"
#include "server/engine/actions/eviction.h"
#include "server/engine/actions/prompt.h"
#include "server/engine/errors.h"
#include "server/engine/prompt_work.h"

namespace concertina {
namespace {

// The last raise gives room for everything.
constexpr int32_t kMostRaises = 4;

// A byte budget is a hard cap, and what is not less than everything cannot grow.
bool CanRaise(const EngineSession& session) {
  const auto policy = MakePolicy(session.policy, session.policy_options);
  if (!policy.ok() || (*policy)->keeps_everything()) return false;
  const Budget& budget = session.budget_in_force();
  return budget.unit == Budget::Unit::kTokens ||
         (budget.unit == Budget::Unit::kRatio && budget.ratio < 1);
}

Budget Raised(const Budget& budget, bool to_all, int64_t all) {
  if (budget.unit == Budget::Unit::kTokens) {
    return Budget::Tokens(to_all ? std::max(all, budget.tokens) : 2 * budget.tokens);
  }
  return Budget::Ratio(to_all ? 1.0 : std::min(1.0, 2 * budget.ratio));
}

// The cache as it is now, at no page's cost as long as both are alike; null when the pool cannot
// promise the pages a second time.
std::unique_ptr<ConversationCache> CopyOf(EngineState& state, EngineSession& session) {
  ConversationCache& cache = *session.cache;
  const int64_t reserved = cache.reserved_bytes();
  if (!ReserveForTurn(state, session, reserved + cache.used_bytes())) return nullptr;
  // What made room for it is free now; the copy's pages are promised on top.
  cache.Reserve(reserved).IgnoreError();
  auto copy = cache.ForkConversation();
  return copy.ok() ? *std::move(copy) : nullptr;
}

bool AnythingWent(const Task& task) {
  return std::any_of(task.folds.begin(), task.folds.end(), [](const FoldReport& fold) {
    return fold.entries_after < fold.entries_before;
  });
}

// The session with the cache it had, and room in the pool to fold the prompt under the budget now
// in force. False, with nothing changed, when the pool has no room.
absl::StatusOr<bool> TurnBack(EngineState& state, Task& task) {
  EngineSession& session = *task.session;
  std::unique_ptr<ConversationCache>& before = task.prompt->probe->before;
  std::swap(session.cache, before);
  const int64_t bound = CacheBound(task);
  std::swap(session.cache, before);
  // Promised while both are there, so that nothing is given up in vain.
  if (!ReserveForTurn(state, session, std::max(bound, session.cache->reserved_bytes()))) {
    return false;
  }
  session.cache = std::move(before);
  if (!ReserveForTurn(state, session, bound)) {
    return RetryLater(reason::kPoolExhausted, "the pool cannot hold the raised budget now",
                      state.RetryAfterMs());
  }
  return true;
}

// True when the prompt is to be read again.
absl::StatusOr<bool> RaiseBudget(EngineState& state, Task& task) {
  EngineSession& session = *task.session;
  if (!task.prompt->probe->before || !AnythingWent(task)) return false;
  if (task.quality.raises == kMostRaises) return false;
  const std::optional<Budget> in_force = session.raised_budget;
  const bool last = task.quality.raises + 1 == kMostRaises;
  session.raised_budget = Raised(session.budget_in_force(), last, session.cache->seen());
  auto back = TurnBack(state, task);
  if (!back.ok() || !*back) session.raised_budget = in_force;
  return back;
}

void ReadAgain(Task& task) {
  ++task.quality.raises;
  task.unsettled = false;
  auto prompt = std::make_unique<PromptState>();
  prompt->work = task.prompt->work;
  task.prompt = std::move(prompt);
}

absl::Status EndProbe(EngineState& state, Task& task) {
  ProbeState& probe = *task.prompt->probe;
  const auto taken = state.Now() - probe.begin;
  task.timings.probe += taken;
  state.observer->OnProbe(std::chrono::duration<double>(taken).count());
  TurnQuality& quality = task.quality;
  if (quality.agreement() < task.session->quality.min_quality) {
    const auto raised = RaiseBudget(state, task);
    if (!raised.ok()) return raised.status();
    if (*raised) {
      ReadAgain(task);
      return absl::OkStatus();
    }
    quality.below_min_quality = true;
  }
  const auto hidden = static_cast<size_t>(state.model->config.hidden);
  const std::vector<float> last(probe.unfolded.end() - static_cast<int64_t>(hidden),
                                probe.unfolded.end());
  SettlePrompt(state, task, last);
  return absl::OkStatus();
}

// An unfolded and a folded row after the other. False when none fits.
absl::StatusOr<bool> CompareRows(EngineState& state, Task& task, const SliceLimit& limit) {
  const LanguageConfig& config = state.model->config;
  ProbeState& probe = *task.prompt->probe;
  const int64_t row = task.quality.probe_tokens;
  const auto shares_of = [&](int64_t rows) { return LogitShares(config, rows); };
  const int64_t most = std::min<int64_t>(kMostLogitRows, 2 * (probe.rows - row));
  const int64_t n = SliceRows(state.logit_cost, limit, kLogitUnit, most, shares_of);
  if (n == 0) return false;
  const auto begin = state.Now();
  const float* unfolded = probe.unfolded.data();
  const float* folded = task.prompt->prefill->hidden();
  probe.pairs.clear();
  for (int64_t i = row; i < row + n / 2; ++i) {
    for (const float* from : {unfolded, folded}) {
      probe.pairs.insert(probe.pairs.end(), from + i * config.hidden,
                         from + (i + 1) * config.hidden);
    }
  }
  const auto logits = state.runner->Logits(probe.pairs.data(), n);
  if (!logits.ok()) return logits.status();
  for (int64_t i = 0; i < n; i += 2) {
    const auto row_of = [&](int64_t at) {
      return std::span(*logits + at * config.vocab, static_cast<size_t>(config.vocab));
    };
    AddProbeRow(row_of(i), row_of(i + 1), &task.quality);
  }
  state.logit_cost.Learn(shares_of(n), state.Now() - begin);
  return true;
}

}  // namespace

bool IsTurnsOwnPrompt(const Task& task) {
  return task.kind == Task::Kind::kTurn && task.segments.size() == 1;
}

void PrepareProbe(EngineState& state, Task& task) {
  EngineSession& session = *task.session;
  if (session.quality.probe_tokens == 0 || !IsTurnsOwnPrompt(task)) return;
  PromptState& prompt = *task.prompt;
  prompt.probe = std::make_unique<ProbeState>();
  const auto tokens = static_cast<int32_t>(task.segments.front().prompt.size());
  prompt.probe->rows = std::min(session.quality.probe_tokens, tokens);
  const int64_t floats = int64_t{prompt.probe->rows} * state.model->config.hidden;
  prompt.probe->embeddings.assign(prompt.embeddings.end() - floats, prompt.embeddings.end());
  if (session.quality.min_quality > 0 && CanRaise(session)) {
    prompt.probe->before = CopyOf(state, session);
  }
}

absl::Status StartProbe(EngineState& state, Task& task) {
  PromptState& prompt = *task.prompt;
  ProbeState& probe = *prompt.probe;
  const LanguageConfig& config = state.model->config;
  task.unsettled = true;
  probe.reading = true;
  probe.begin = state.Now();
  const float* end = prompt.prefill->last_hidden() + config.hidden;
  probe.unfolded.assign(end - int64_t{probe.rows} * config.hidden, end);
  const Segment& segment = task.segments.front();
  const bool adapter = task.session->adapter || !segment.images.empty();
  prompt.prefill.reset();  // its memory serves for the next one
  auto pass = state.runner->MakeProbe(*task.session->cache, std::exchange(probe.embeddings, {}),
                                      probe.position, adapter && state.model->adapter);
  if (!pass.ok()) return pass.status();
  prompt.prefill = *std::move(pass);
  return prompt.prefill->Begin();
}

absl::StatusOr<bool> RunProbeSlice(EngineState& state, Task& task, const SliceLimit& limit) {
  if (!task.prompt->prefill->finished()) {
    const auto through = RunLayerSlice(state, task, limit);
    if (!through.ok()) return through.status();
    return through->has_value();
  }
  const auto compared = CompareRows(state, task, limit);
  if (!compared.ok() || !*compared) return compared;
  if (task.quality.probe_tokens < task.prompt->probe->rows) return true;
  if (absl::Status status = EndProbe(state, task); !status.ok()) return status;
  return true;
}

}  // namespace concertina
