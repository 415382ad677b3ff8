#include "server/engine/actions/pictures.h"

#include <algorithm>
#include <utility>

#include "server/engine/actions/prompt_order.h"
#include "server/engine/prompt_work.h"

namespace concertina {
namespace {

// Of the rows of a slice. Fewer would be no faster: weights have to be brought in for any number.
constexpr int64_t kUnit = 16;

void Place(Task& task, const std::vector<float>& features, int64_t width) {
  PromptState& prompt = *task.prompt;
  const auto [first, count] = task.segments.front().image_spans[prompt.pictures_done];
  std::copy_n(features.begin(), count * width, prompt.embeddings.begin() + first * width);
  ++prompt.pictures_done;
}

void BeginPicture(const Model& model, const PreparedImage& image, PromptState& prompt) {
  prompt.features =
      std::make_shared<std::vector<float>>(int64_t{model.image_tokens} * model.config.hidden);
  prompt.vision =
      std::make_unique<VisionJob>(*model.vision, image.pixels.data(), prompt.features->data());
  prompt.vision_time = {};
}

void FinishPicture(EngineState& state, Task& task, const std::string& sha256) {
  PromptState& prompt = *task.prompt;
  task.timings.vision += prompt.vision_time;
  state.observer->OnVision(std::chrono::duration<double>(prompt.vision_time).count());
  prompt.vision.reset();
  const auto features = std::exchange(prompt.features, nullptr);
  state.features.Insert(sha256, features);
  Place(task, *features, state.model->config.hidden);
}

}  // namespace

bool RunPictureSlice(EngineState& state, Task& task, const SliceLimit& limit) {
  PromptState& prompt = *task.prompt;
  const PreparedImage& image = *task.segments.front().images[prompt.pictures_done];
  if (!prompt.vision) {
    if (const auto found = state.features.Find(image.sha256)) {
      Place(task, *found, state.model->config.hidden);
      return true;
    }
    BeginPicture(*state.model, image, prompt);
  }
  VisionJob& job = *prompt.vision;
  const int64_t macs = job.row_macs();
  const auto shares_of = [&](int64_t rows) { return PictureSliceShares(rows, macs); };
  const int64_t rows = SliceRows(state.picture_cost, limit, kUnit, job.rows_left(), shares_of);
  if (rows == 0) return false;
  const auto begin = state.Now();
  const bool complete = job.Step(rows);
  state.observer->OnPictureSlice(rows);
  const auto taken = state.Now() - begin;
  state.picture_cost.Learn(shares_of(rows), taken);
  prompt.vision_time += taken;
  CountWork(state, task, static_cast<double>(rows * macs));
  if (complete) FinishPicture(state, task, image.sha256);
  return true;
}

}  // namespace concertina
