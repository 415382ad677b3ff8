#include "server/engine/actions/deliver.h"

#include <algorithm>
#include <utility>

#include "models/kernels/parallel.h"
#include "server/engine/actions/finish.h"

namespace concertina {
namespace {

void MeasureToken(EngineState& state, Task& task) {
  const auto now = state.Now();
  if (task.first_token == Task::TimePoint{}) {
    task.first_token = now;
    task.timings.time_to_first_token = now - task.arrival;
    state.observer->OnFirstToken(
        std::chrono::duration<double>(task.timings.time_to_first_token).count());
  } else {
    state.observer->OnInterToken(std::chrono::duration<double>(now - task.last_token).count());
  }
  task.last_token = now;
}

bool EndsAnswer(const EngineState& state, const Task& task, int32_t token) {
  const auto& ends = state.model->end_tokens;
  return !task.params.ignore_eos && std::find(ends.begin(), ends.end(), token) != ends.end();
}

// Its memory serves for the next ones.
void Send(Task& task) {
  task.sink->OnDelta(task.pending);
  task.pending.text.clear();
  task.pending.token_ids.clear();
  task.pending.logprobs.clear();
}

// Room for the tokens of a character, or of what may become a stop string, without allocating.
void ReservePending(Task& task) {
  constexpr size_t kTokens = 64;
  constexpr size_t kBytes = 512;
  task.decoded.reserve(kBytes);
  task.pending.text.reserve(kBytes);
  task.pending.token_ids.reserve(kTokens);
  if (task.params.logprobs) task.pending.logprobs.reserve(kTokens);
}

// The text of one more token, as far as it is certain and begins no stop string.
void AddText(Task& task, int32_t token) {
  task.decoded.clear();
  task.detokenizer->Push(token, &task.decoded);
  task.stops->Push(task.decoded, &task.pending.text);
}

// What is left in the detokeniser and the stop matcher when the answer ends.
void SendRest(Task& task) {
  task.decoded.clear();
  task.detokenizer->Flush(&task.decoded);
  task.stops->Push(task.decoded, &task.pending.text);
  task.stops->Flush(&task.pending.text);
  if (!task.pending.text.empty() || !task.pending.token_ids.empty()) Send(task);
}

}  // namespace

void ReserveScratch(EngineState& state) {
  std::vector<SamplerScratch>& scratch = state.decode_lists.scratch;
  scratch.resize(static_cast<size_t>(Threads()));
  for (SamplerScratch& one : scratch) one.Reserve(state.model->config.vocab);
}

Sampler::Choice ChooseToken(const EngineState& state, Task& task, const float* logits,
                            SamplerScratch* scratch) {
  const std::span row(logits, static_cast<size_t>(state.model->config.vocab));
  return task.sampler->Choose(row, task.params.logprobs, scratch);
}

void DeliverToken(EngineState& state, Task& task, const float* logits) {
  ReserveScratch(state);
  SamplerScratch* scratch = &state.decode_lists.scratch.front();
  DeliverToken(state, task, ChooseToken(state, task, logits, scratch));
}

void DeliverToken(EngineState& state, Task& task, const Sampler::Choice& choice) {
  MeasureToken(state, task);
  if (EndsAnswer(state, task, choice.token)) {
    SendRest(task);
    return CompleteTurn(state, task, FinishReason::kStop);
  }
  if (task.generated == 0) ReservePending(task);
  ++task.generated;
  task.next_token = choice.token;
  task.pending.token_ids.push_back(choice.token);
  if (task.params.logprobs) task.pending.logprobs.push_back(choice.logprob);
  AddText(task, choice.token);
  if (task.stops->stopped()) {
    task.next_token = -1;  // its text was not delivered
    SendRest(task);
    return CompleteTurn(state, task, FinishReason::kStopString);
  }
  if (task.generated >= task.max_tokens) {
    SendRest(task);
    return CompleteTurn(state, task, FinishReason::kLength);
  }
  if (!task.pending.text.empty()) Send(task);
}

}  // namespace concertina
