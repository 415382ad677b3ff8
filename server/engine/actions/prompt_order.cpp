#include "server/engine/actions/prompt_order.h"

#include <algorithm>

#include "server/engine/actions/refine.h"
#include "server/engine/prompt_work.h"

namespace concertina {
namespace {

// A prompt overtakes another that has this many times its work left.
constexpr int kMuchLonger = 4;

// Everything known that is to be prefilled: a rebuild with many short segments is no short prompt.
struct Size {
  int64_t tokens = 0;
  int64_t pictures = 0;
};

Size SizeOf(const EngineState& state, const Task& task) {
  Size size;
  const bool repeats = RepeatsAtOnce(task);
  size_t replayed = task.replayed_segments;
  for (const Segment& segment : task.segments) {
    size.tokens += segment.tokens();
    if (replayed > 0 ? segment.repeated : repeats) {
      size.tokens += static_cast<int64_t>(segment.prompt.size() + state.RepeatRequest().size());
    }
    replayed -= replayed > 0 ? 1 : 0;
    size.pictures += static_cast<int64_t>(segment.images.size());
  }
  size.tokens += static_cast<int64_t>(task.continuation.size());
  return size;
}

// Per head, in the layer that has most.
int64_t MostEntries(const ConversationCache& cache) {
  int32_t most = 0;
  for (int32_t layer = 0; layer < cache.shape().layers; ++layer) {
    most = std::max(most, cache.OldEntries(layer));
  }
  return most;
}

double WorkOf(const EngineState& state, const Task& task) {
  const Size size = SizeOf(state, task);
  const LanguageConfig& config = state.model->config;
  double work = PromptMacs(config, size.tokens, MostEntries(*task.session->cache));
  if (size.pictures > 0) {
    const VisionEncoder& vision = *state.model->vision;
    const int64_t picture = VisionJob::PictureMacs(vision.config(), vision.output_width());
    work += static_cast<double>(size.pictures * picture);
  }
  return work;
}

bool MayOvertake(const EngineState& state, const PromptState& running, const Task& task) {
  const int64_t positions = SizeOf(state, task).tokens + MostEntries(*task.session->cache);
  if (positions > OvertakerPositions(state.model->config)) return false;
  const double work = WorkOf(state, task);
  return kMuchLonger * work <= running.work - running.done &&
         running.overtaken + work <= running.done + running.work / kMuchLonger;
}

}  // namespace

void BeginPrompt(EngineState& state, Task& task) {
  task.prompt = std::make_unique<PromptState>();
  task.prompt->work = WorkOf(state, task);
  state.prompts.push_back(&task);
}

Task* NextPrompt(EngineState& state) {
  if (state.prompts.size() > 1) return state.prompts.back();
  for (const auto& task : state.running) {
    if (task->phase != Task::Phase::kPrefill || task->prompt) continue;
    if (state.prompts.empty() || MayOvertake(state, *state.prompts.front()->prompt, *task)) {
      BeginPrompt(state, *task);
      return task.get();
    }
  }
  return state.prompts.empty() ? nullptr : state.prompts.back();
}

void CountWork(EngineState& state, Task& task, double macs) {
  task.prompt->done += macs;
  Task& first = *state.prompts.front();
  if (&first != &task) first.prompt->overtaken += macs;
}

int64_t OvertakerPositions(const LanguageConfig& config) {
  return config.max_positions / kMuchLonger;
}

}  // namespace concertina
