#include "tests/engine/engine_fixture.h"

#include <cstdlib>
#include <iostream>
#include <thread>
#include <utility>

namespace concertina::testing {
namespace {

template <typename T, typename Call>
absl::StatusOr<T> Blocking(Call call) {
  std::promise<absl::StatusOr<T>> promise;
  call([&](absl::StatusOr<T> result) { promise.set_value(std::move(result)); });
  return promise.get_future().get();
}

}  // namespace

std::shared_ptr<const Model> LoadOrDie(const std::string& path) {
  auto model = LoadModel(
      {.path = path, .vision_path = {}, .weight_type = MatrixType::kF32, .chat_family = {}});
  if (!model.ok()) {
    std::cerr << model.status() << "\n";
    std::abort();
  }
  return *std::move(model);
}

std::shared_ptr<const Model> TinyModel() {
  static const std::shared_ptr<const Model> kModel =
      LoadOrDie(CONCERTINA_SOURCE_DIR "/tests/goldens/llava15-tiny");
  return kModel;
}

std::shared_ptr<const PreparedImage> PlainImage(const Model& model, float value) {
  const int32_t side = model.vision->image_side();
  auto image = std::make_shared<PreparedImage>();
  image->sha256 = "plain-" + std::to_string(value);
  image->pixels.assign(size_t{3} * side * side, value);
  return image;
}

void UnhurriedSteps::OnBatch(int64_t) { std::this_thread::sleep_for(std::chrono::milliseconds(1)); }

void RecordingSink::OnEvent(TurnEvent event) {
  std::lock_guard lock(mutex_);
  events_.push_back(std::move(event));
  changed_.notify_all();
}

void RecordingSink::OnFinished(absl::Status status) {
  std::lock_guard lock(mutex_);
  status_ = std::move(status);
  changed_.notify_all();
}

absl::Status RecordingSink::Wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return status_.has_value(); });
  return *status_;
}

void RecordingSink::WaitForTokens(size_t count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] {
    size_t tokens = 0;
    for (const TurnEvent& event : events_) {
      if (const auto* delta = std::get_if<DeltaEvent>(&event)) tokens += delta->token_ids.size();
    }
    return status_ || tokens >= count;
  });
}

std::string RecordingSink::text() const {
  std::lock_guard lock(mutex_);
  std::string text;
  for (const TurnEvent& event : events_) {
    if (const auto* delta = std::get_if<DeltaEvent>(&event)) text += delta->text;
  }
  return text;
}

std::vector<int32_t> RecordingSink::tokens() const {
  std::lock_guard lock(mutex_);
  std::vector<int32_t> tokens;
  for (const TurnEvent& event : events_) {
    if (const auto* delta = std::get_if<DeltaEvent>(&event)) {
      tokens.insert(tokens.end(), delta->token_ids.begin(), delta->token_ids.end());
    }
  }
  return tokens;
}

std::vector<float> RecordingSink::logprobs() const {
  std::lock_guard lock(mutex_);
  std::vector<float> logprobs;
  for (const TurnEvent& event : events_) {
    if (const auto* delta = std::get_if<DeltaEvent>(&event)) {
      logprobs.insert(logprobs.end(), delta->logprobs.begin(), delta->logprobs.end());
    }
  }
  return logprobs;
}

size_t RecordingSink::deltas() const {
  std::lock_guard lock(mutex_);
  size_t count = 0;
  for (const TurnEvent& event : events_) count += std::holds_alternative<DeltaEvent>(event);
  return count;
}

std::optional<FoldedEvent> RecordingSink::folded() const {
  std::lock_guard lock(mutex_);
  const auto* found = Find<FoldedEvent>();
  return found ? std::optional(*found) : std::nullopt;
}

std::optional<CompletedEvent> RecordingSink::completed() const {
  std::lock_guard lock(mutex_);
  const auto* found = Find<CompletedEvent>();
  return found ? std::optional(*found) : std::nullopt;
}

std::vector<size_t> RecordingSink::event_kinds() const {
  std::lock_guard lock(mutex_);
  std::vector<size_t> kinds;
  for (const TurnEvent& event : events_) kinds.push_back(event.index());
  return kinds;
}

EngineOptions TestEngine::DefaultOptions() {
  EngineOptions options;
  options.pool_bytes = int64_t{64} << 20;
  options.default_entry_type = EntryType::kF32;
  return options;
}

TestEngine::TestEngine(EngineOptions options, std::shared_ptr<const Model> model,
                       std::shared_ptr<EngineObserver> observer,
                       std::shared_ptr<const Clock> clock) {
  if (!observer) observer = std::make_shared<EngineObserver>();
  auto engine = Engine::Start(std::move(options), std::move(model), std::move(observer),
                              clock ? std::move(clock) : std::make_shared<Clock>());
  if (!engine.ok()) {
    std::cerr << engine.status() << "\n";
    std::abort();
  }
  engine_ = *std::move(engine);
}

absl::StatusOr<SessionInfo> TestEngine::Open(OpenSessionParams params) {
  return Blocking<SessionInfo>(
      [&](auto done) { engine_->OpenSession(std::move(params), std::move(done)); });
}

std::string TestEngine::OpenId(CacheOptions cache) {
  OpenSessionParams params;
  params.cache = std::move(cache);
  auto session = Open(std::move(params));
  if (!session.ok()) {
    std::cerr << session.status() << "\n";
    std::abort();
  }
  return session->session_id;
}

absl::StatusOr<SessionInfo> TestEngine::Get(const std::string& id) {
  return Blocking<SessionInfo>([&](auto done) { engine_->GetSession(id, std::move(done)); });
}

absl::StatusOr<SessionInfo> TestEngine::SetBudget(const std::string& id, Budget budget) {
  return Blocking<SessionInfo>(
      [&](auto done) { engine_->UpdateSession(id, {.budget = budget}, std::move(done)); });
}

absl::StatusOr<SessionInfo> TestEngine::Truncate(const std::string& id, int32_t turn) {
  return Blocking<SessionInfo>([&](auto done) {
    engine_->UpdateSession(id, {.budget = {}, .truncate_turn = turn}, std::move(done));
  });
}

absl::StatusOr<SessionInfo> TestEngine::Fork(const std::string& id) {
  return Blocking<SessionInfo>([&](auto done) { engine_->ForkSession(id, "", std::move(done)); });
}

absl::StatusOr<int64_t> TestEngine::Evict(const std::string& id) {
  return Blocking<int64_t>([&](auto done) { engine_->EvictSession(id, std::move(done)); });
}

bool TestEngine::Close(const std::string& id) {
  return *Blocking<bool>([&](auto done) { engine_->CloseSession(id, std::move(done)); });
}

std::shared_ptr<RecordingSink> TestEngine::Start(GenerateParams params,
                                                 std::shared_ptr<Engine::Handle>* handle) {
  auto sink = std::make_shared<RecordingSink>();
  auto started = engine_->Generate(std::move(params), sink);
  if (handle) *handle = std::move(started);
  return sink;
}

GenerateParams TestEngine::Params(const std::string& id, const std::string& text,
                                  int32_t max_tokens, std::shared_ptr<const PreparedImage> image) {
  GenerateParams params;
  params.session_id = id;
  if (image) params.parts.push_back({.text = {}, .image = std::move(image)});
  params.parts.push_back({.text = text, .image = nullptr});
  params.max_tokens = max_tokens;
  params.ignore_eos = true;
  params.arrival = std::chrono::steady_clock::now();
  return params;
}

std::shared_ptr<RecordingSink> TestEngine::Turn(const std::string& id, const std::string& text,
                                                int32_t max_tokens,
                                                std::shared_ptr<const PreparedImage> image) {
  auto sink = Start(Params(id, text, max_tokens, std::move(image)));
  if (absl::Status status = sink->Wait(); !status.ok()) std::cerr << status << "\n";
  return sink;
}

absl::StatusOr<ScoreResult> TestEngine::Score(ScoreParams params) {
  return Blocking<ScoreResult>(
      [&](auto done) { engine_->Score(std::move(params), std::move(done)); });
}

EngineGauges TestEngine::Settled() {
  // Two round trips through the engine's queue: the gauges are published in between or when it
  // idles.
  for (int i = 0; i < 2000; ++i) {
    const EngineGauges now = engine_->gauges();
    auto list = Blocking<std::vector<SessionInfo>>(
        [&](auto done) { engine_->ListSessions("", 100000, std::move(done)); });
    int64_t used = 0;
    for (const SessionInfo& session : *list) {
      used += session.cache.used_bytes - session.cache.shared_bytes;
    }
    if (now.sessions_active == static_cast<int64_t>(list->size()) && now.requests_running == 0 &&
        now.requests_waiting == 0 && now.pool_used_bytes >= used) {
      return engine_->gauges();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return engine_->gauges();
}

}  // namespace concertina::testing
