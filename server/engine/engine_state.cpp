#include "server/engine/engine_state.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace concertina {
namespace {

constexpr std::string_view kRepeatRequest = "\n\nRepeat the previous context exactly:\n";

}  // namespace

EngineState::EngineState(EngineOptions engine_options, std::shared_ptr<const Model> shared_model,
                         std::shared_ptr<EngineObserver> shared_observer,
                         std::shared_ptr<const Clock> shared_clock,
                         std::unique_ptr<PagePool> page_pool,
                         std::unique_ptr<ModelRunner> model_runner)
    : options(std::move(engine_options)),
      model(std::move(shared_model)),
      observer(std::move(shared_observer)),
      clock(std::move(shared_clock)),
      pool(std::move(page_pool)),
      runner(std::move(model_runner)),
      pace(options.prefill_share, options.prefill_step) {}

const std::vector<int32_t>& EngineState::RepeatRequest() const {
  if (repeat_request.empty()) {
    repeat_request =
        model->tokenizer->EncodeContinuation(kRepeatRequest, Tokenizer::Special::kInert);
  }
  return repeat_request;
}

int64_t EngineState::RetryAfterMs() const {
  constexpr double kLeast = 100, kMost = 30'000;
  const double places = static_cast<double>(std::max<size_t>(running.size(), 1));
  const double ahead = static_cast<double>(waiting.size() + 1);
  return static_cast<int64_t>(std::clamp(1000 * turn_seconds * ahead / places, kLeast, kMost));
}

SessionInfo InfoOf(const EngineState& state, const EngineSession& session) {
  SessionInfo info = InfoOf(session);
  const auto timeout = state.options.session_idle_timeout;
  if (timeout.count() > 0 && !session.busy) info.expires = session.last_used + timeout;
  return info;
}

}  // namespace concertina
