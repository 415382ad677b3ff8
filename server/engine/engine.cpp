#include "server/engine/engine.h"

#include <mutex>
#include <thread>
#include <utility>

#include "models/kernels/parallel.h"
#include "models/tensor/device_runner.h"
#include "server/engine/actions/eviction.h"
#include "server/engine/actions/finish.h"
#include "server/engine/actions/sessions.h"
#include "server/engine/actions/traits.h"
#include "server/engine/actions/update.h"
#include "server/engine/command_queue.h"
#include "server/engine/errors.h"
#include "server/engine/host_runner.h"
#include "server/engine/scheduler.h"
#include "server/engine/tasks.h"
#include "server/engine/workspace_bound.h"

namespace concertina {
namespace {

constexpr std::chrono::milliseconds kIdleWait{500};
constexpr std::chrono::milliseconds kGaugeInterval{200};

absl::Status Stopped() {
  return ReasonError(absl::StatusCode::kUnavailable, reason::kDraining, "the engine has stopped");
}

absl::StatusOr<std::unique_ptr<PagePool>> MakePool(const EngineOptions& options,
                                                   const Model& model) {
  const int64_t page_bytes = PageBytesOf(model);
  return model.device ? PagePool::CreateLedger(options.pool_bytes, page_bytes)
                      : PagePool::Create(options.pool_bytes, page_bytes);
}

absl::StatusOr<std::unique_ptr<ModelRunner>> MakeRunner(const EngineOptions& options,
                                                        const Model& model, PagePool* pool) {
  if (!model.device) return std::make_unique<HostRunner>(*model.language, pool);
  auto runner = MakeDeviceRunner(*model.device, options.max_batch, pool);
  if (!runner.ok()) return runner;
  const CacheSpec defaults{.policy = options.default_policy,
                           .entry_type = options.default_entry_type,
                           .budget = options.default_budget};
  const absl::Status status = CheckTraits((*runner)->traits(), defaults);
  if (!status.ok()) return status;
  // A policy that the device does not know is refused here, not at every session.
  if (auto cache = (*runner)->MakeCache(defaults); !cache.ok()) return cache.status();
  return runner;
}

}  // namespace

// The engine thread and what it is asked to do. `state` is touched by that thread alone.
class Engine::Impl {
 public:
  Impl(EngineOptions options, std::shared_ptr<const Model> model,
       std::shared_ptr<EngineObserver> observer, std::shared_ptr<const Clock> clock,
       std::unique_ptr<PagePool> pool, std::unique_ptr<ModelRunner> runner)
      : state(std::move(options), std::move(model), std::move(observer), std::move(clock),
              std::move(pool), std::move(runner)) {
    PublishGauges();
    thread_ = std::thread([this] { Loop(); });
  }

  ~Impl() {
    queue.Close();
    thread_.join();
  }

  EngineGauges gauges() const {
    std::lock_guard lock(gauges_mutex_);
    return gauges_;
  }

  EngineState state;
  CommandQueue queue;

 private:
  void Loop() {
    SetThreads(state.options.threads);
    bool idle = true;
    while (true) {
      for (auto& command : queue.Take(idle ? kIdleWait : std::chrono::milliseconds(0))) command();
      if (queue.closed()) break;
      idle = !RunStep(state);
      const auto now = state.Now();
      const bool ended = std::exchange(state.task_ended, false);
      if (idle || ended || now - published_ >= kGaugeInterval) PublishGauges();
    }
    for (auto& command : queue.Take(std::chrono::milliseconds(0))) command();
    for (const auto& task : state.running) EndTask(state, *task, Stopped());
    for (const auto& task : state.waiting) EndTask(state, *task, Stopped());
    SweepTasks(state);
    state.sessions.clear();
    PublishGauges();
  }

  void PublishGauges() {
    published_ = state.Now();
    const EngineGauges now = GaugesOf(state);
    state.observer->OnGauges(now);
    std::lock_guard lock(gauges_mutex_);
    gauges_ = now;
  }

  std::chrono::steady_clock::time_point published_;
  mutable std::mutex gauges_mutex_;
  EngineGauges gauges_;
  std::thread thread_;  // last: starts when everything else is there
};

absl::StatusOr<std::unique_ptr<Engine>> Engine::Start(EngineOptions options,
                                                      std::shared_ptr<const Model> model,
                                                      std::shared_ptr<EngineObserver> observer,
                                                      std::shared_ptr<const Clock> clock) {
  auto pool = MakePool(options, *model);
  if (!pool.ok()) return pool.status();
  if (auto policy = MakePolicy(options.default_policy); !policy.ok()) return policy.status();
  if (absl::Status status = ValidateBudget(options.default_budget); !status.ok()) return status;
  auto runner = MakeRunner(options, *model, pool->get());
  if (!runner.ok()) return runner.status();
  return std::unique_ptr<Engine>(
      new Engine(std::make_unique<Impl>(std::move(options), std::move(model), std::move(observer),
                                        std::move(clock), *std::move(pool), *std::move(runner))));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

namespace {

class CancelHandle final : public Engine::Handle {
 public:
  CancelHandle(std::shared_ptr<Task::Control> control, std::function<void()> wake)
      : control_(std::move(control)), wake_(std::move(wake)) {}

  void Cancel(absl::Status status) override {
    std::call_once(once_, [&] {
      control_->status = std::move(status);
      control_->cancelled.store(true);
      wake_();
    });
  }

 private:
  std::once_flag once_;
  std::shared_ptr<Task::Control> control_;
  std::function<void()> wake_;
};

}  // namespace

std::shared_ptr<Engine::Handle> Engine::OpenSession(OpenSessionParams params,
                                                    Done<SessionInfo> done) {
  auto control = std::make_shared<Task::Control>();
  auto run = [this, params = std::move(params), done, control] {
    StartOpening(impl_->state, params, done, control);
  };
  if (!impl_->queue.Push(std::move(run))) done(Stopped());
  return std::make_shared<CancelHandle>(std::move(control), [this] { impl_->queue.Push([] {}); });
}

void Engine::GetSession(std::string session_id, Done<SessionInfo> done) {
  auto run = [this, id = std::move(session_id), done] {
    auto session = FindSession(impl_->state, id);
    if (!session.ok()) return done(session.status());
    done(InfoOf(impl_->state, **session));
  };
  if (!impl_->queue.Push(std::move(run))) done(Stopped());
}

void Engine::ListSessions(std::string after, int32_t limit, Done<std::vector<SessionInfo>> done) {
  auto run = [this, after = std::move(after), limit, done] {
    std::vector<SessionInfo> infos;
    const auto& sessions = impl_->state.sessions;
    for (auto at = sessions.upper_bound(after);
         at != sessions.end() && static_cast<int32_t>(infos.size()) < limit; ++at) {
      infos.push_back(InfoOf(impl_->state, *at->second));
    }
    done(std::move(infos));
  };
  if (!impl_->queue.Push(std::move(run))) done(Stopped());
}

void Engine::UpdateSession(std::string session_id, SessionChanges changes, Done<SessionInfo> done) {
  auto run = [this, id = std::move(session_id), changes, done] {
    auto session = concertina::UpdateSession(impl_->state, id, changes);
    if (!session.ok()) return done(session.status());
    done(InfoOf(impl_->state, **session));
  };
  if (!impl_->queue.Push(std::move(run))) done(Stopped());
}

void Engine::ForkSession(std::string session_id, std::string new_id, Done<SessionInfo> done) {
  auto run = [this, id = std::move(session_id), new_id = std::move(new_id), done] {
    auto session = concertina::ForkSession(impl_->state, id, new_id);
    if (!session.ok()) return done(session.status());
    done(InfoOf(impl_->state, **session));
  };
  if (!impl_->queue.Push(std::move(run))) done(Stopped());
}

void Engine::EvictSession(std::string session_id, Done<int64_t> done) {
  auto run = [this, id = std::move(session_id), done] {
    auto session = FindIdleSession(impl_->state, id);
    if (!session.ok()) return done(session.status());
    done(EvictCache(impl_->state, **session, "admin"));
  };
  if (!impl_->queue.Push(std::move(run))) done(Stopped());
}

void Engine::CloseSession(std::string session_id, Done<bool> done) {
  auto run = [this, id = std::move(session_id), done] {
    done(concertina::CloseSession(impl_->state, id));
  };
  if (!impl_->queue.Push(std::move(run))) done(Stopped());
}

std::shared_ptr<Engine::Handle> Engine::Generate(GenerateParams params,
                                                 std::shared_ptr<TurnSink> sink) {
  auto task = std::make_shared<std::unique_ptr<Task>>(MakeTurn(std::move(params), sink));
  auto control = (*task)->control;
  auto run = [this, task] { StartTurn(impl_->state, std::move(*task)); };
  if (!impl_->queue.Push(std::move(run))) sink->OnFinished(Stopped());
  return std::make_shared<CancelHandle>(std::move(control), [this] { impl_->queue.Push([] {}); });
}

std::shared_ptr<Engine::Handle> Engine::Score(ScoreParams params, Done<ScoreResult> done) {
  auto control = std::make_shared<Task::Control>();
  auto run = [this, params = std::move(params), done, control] {
    StartScore(impl_->state, params, done, control);
  };
  if (!impl_->queue.Push(std::move(run))) done(Stopped());
  return std::make_shared<CancelHandle>(std::move(control), [this] { impl_->queue.Push([] {}); });
}

void Engine::StartDraining() {
  impl_->queue.Push([this] { concertina::StartDraining(impl_->state); });
}

bool Engine::Drain(std::chrono::milliseconds timeout) {
  StartDraining();
  const auto give_up = std::chrono::steady_clock::now() + timeout;
  while (std::chrono::steady_clock::now() < give_up) {
    const EngineGauges now = impl_->gauges();
    if (now.draining && now.requests_running == 0 && now.requests_waiting == 0) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

EngineGauges Engine::gauges() const { return impl_->gauges(); }

int64_t Engine::workspace_bound_bytes() const {
  const EngineState& state = impl_->state;
  return WorkspaceBound(*state.model, *state.runner, state.options,
                        state.features.capacity_bytes());
}

const Model& Engine::model() const { return *impl_->state.model; }
const EngineOptions& Engine::options() const { return impl_->state.options; }

}  // namespace concertina
