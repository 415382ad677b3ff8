#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cache/page_pool.h"
#include "models/runner/model_runner.h"
#include "server/engine/decode_lists.h"
#include "server/engine/engine.h"
#include "server/engine/feature_cache.h"
#include "server/engine/session.h"
#include "server/engine/slice_cost.h"
#include "server/engine/step_pace.h"
#include "server/engine/task.h"

namespace concertina {

// Everything the engine thread owns. The actions (actions/*.h) each do one thing to it.
struct EngineState {
  EngineState(EngineOptions engine_options, std::shared_ptr<const Model> shared_model,
              std::shared_ptr<EngineObserver> shared_observer,
              std::shared_ptr<const Clock> shared_clock, std::unique_ptr<PagePool> page_pool,
              std::unique_ptr<ModelRunner> model_runner);

  Task::TimePoint Now() const { return clock->Now(); }
  // What stands between a prompt and its repetition.
  const std::vector<int32_t>& RepeatRequest() const;

  const EngineOptions options;
  const std::shared_ptr<const Model> model;
  const std::shared_ptr<EngineObserver> observer;
  const std::shared_ptr<const Clock> clock;

  // The pool and the runner outlive the sessions, which give their pages back when they are
  // destroyed.
  std::unique_ptr<PagePool> pool;
  std::unique_ptr<ModelRunner> runner;
  std::map<std::string, std::unique_ptr<EngineSession>> sessions;
  std::deque<std::unique_ptr<Task>> waiting;
  std::vector<std::unique_ptr<Task>> running;
  // Those of `running` with a prompt under way. The last is the one that goes on: it overtook the
  // other (actions/prompt_order.h).
  std::vector<Task*> prompts;

  StepPace pace;
  SliceCost layer_cost, picture_cost, logit_cost;

  FeatureCache features{int64_t{64} << 20};
  DecodeLists decode_lists;
  bool draining = false;
  // The first task waiting is there for want of cache pages.
  bool blocked_on_pool = false;
  // A task ended in this step: whoever reads the gauges after the reply should see it.
  bool task_ended = false;
  Task::TimePoint expiry_checked;
  double turn_seconds = 0.5;                    // moving average, from admission to the end
  mutable std::vector<int32_t> repeat_request;  // empty until it was asked for

  // When a refused request should be tried again: about when a place will be free.
  int64_t RetryAfterMs() const;
};

// A session as the API shows it, with when it expires.
SessionInfo InfoOf(const EngineState& state, const EngineSession& session);

}  // namespace concertina
