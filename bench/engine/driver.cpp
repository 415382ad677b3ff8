#include "bench/engine/driver.h"

#include <algorithm>
#include <condition_variable>
#include <future>
#include <mutex>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/tuning/weight_types.h"
#include "server/engine/prompt_builder.h"

namespace concertina::bench {
namespace {

double SecondsBetween(BenchClock::time_point begin, BenchClock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

// Notes when tokens come. Thread-safe.
class TraceSink final : public TurnSink {
 public:
  explicit TraceSink(int generate) { trace_.tokens.reserve(static_cast<size_t>(generate)); }

  void Ask() { trace_.asked = BenchClock::now(); }

  void OnEvent(TurnEvent event) override {
    const auto now = BenchClock::now();
    std::lock_guard lock(mutex_);
    if (const auto* delta = std::get_if<DeltaEvent>(&event)) {
      trace_.tokens.insert(trace_.tokens.end(), delta->token_ids.size(), now);
    } else if (const auto* completed = std::get_if<CompletedEvent>(&event)) {
      trace_.completed = *completed;
    }
  }

  void OnFinished(absl::Status status) override {
    std::lock_guard lock(mutex_);
    status_ = std::move(status);
    changed_.notify_all();
  }

  // Blocks until the turn is over.
  absl::StatusOr<TurnTrace> Take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return status_.has_value(); });
    if (!status_->ok()) return *status_;
    return std::move(trace_);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  TurnTrace trace_;
  std::optional<absl::Status> status_;
};

template <typename T, typename Call>
absl::StatusOr<T> Blocking(Call call) {
  std::promise<absl::StatusOr<T>> promise;
  call([&](absl::StatusOr<T> result) { promise.set_value(std::move(result)); });
  return promise.get_future().get();
}

GenerateParams TurnOf(const std::string& id, const std::string& prompt, int generate) {
  GenerateParams params;
  params.session_id = id;
  params.parts = {{.text = prompt, .image = nullptr}};
  params.max_tokens = generate;
  params.ignore_eos = true;
  params.arrival = BenchClock::now();
  return params;
}

}  // namespace

double TurnTrace::FirstToken() const { return SecondsBetween(asked, tokens.front()); }

StepRate RateOf(const std::vector<TurnTrace>& traces) {
  std::vector<Arrivals> arrivals;
  for (const TurnTrace& trace : traces) arrivals.push_back(trace.tokens);
  const double rate = RateTogether(arrivals);
  if (rate <= 0) return {};
  return {.tokens_per_s = rate, .ms_per_step = 1e3 * static_cast<double>(traces.size()) / rate};
}

void PeakObserver::OnGauges(const EngineGauges& gauges) {
  const auto raise = [](int64_t& peak, int64_t value) { peak = std::max(peak, value); };
  std::lock_guard lock(mutex_);
  raise(peaks_.pool_used_bytes, gauges.pool_used_bytes);
  raise(peaks_.pool_reserved_bytes, gauges.pool_reserved_bytes);
  raise(peaks_.workspace_bytes, gauges.workspace_bytes);
}

void PeakObserver::Reset() {
  std::lock_guard lock(mutex_);
  peaks_ = {};
}

int64_t PeakObserver::pool_used_bytes() const {
  std::lock_guard lock(mutex_);
  return peaks_.pool_used_bytes;
}

int64_t PeakObserver::pool_reserved_bytes() const {
  std::lock_guard lock(mutex_);
  return peaks_.pool_reserved_bytes;
}

int64_t PeakObserver::workspace_bytes() const {
  std::lock_guard lock(mutex_);
  return peaks_.workspace_bytes;
}

CacheOptions Cache(const std::string& policy, Budget budget) {
  CacheOptions options;
  options.policy = policy;
  options.budget = policy == "full" ? Budget::Ratio(1) : budget;
  return options;
}

absl::StatusOr<WeightSettings> WeightsOf(const std::string& name) {
  if (name == "auto") return WeightSettings::Auto();
  const auto type = MatrixTypeByName(name);
  if (!type) return absl::InvalidArgumentError("no such type of weights: " + name);
  return WeightSettings(*type);
}

absl::StatusOr<std::unique_ptr<Driver>> Driver::Start(const EngineOptions& options,
                                                      std::shared_ptr<const Model> model,
                                                      std::string text) {
  std::unique_ptr<Driver> driver(new Driver);
  driver->model_ = std::move(model);
  driver->text_ = driver->model_->tokenizer->Encode(text, Tokenizer::Special::kInert);
  if (driver->text_.size() < 1024) return absl::InvalidArgumentError("the text is too short");
  driver->peaks_ = std::make_shared<PeakObserver>();
  auto engine =
      Engine::Start(options, driver->model_, driver->peaks_, std::make_shared<concertina::Clock>());
  if (!engine.ok()) return engine.status();
  driver->engine_ = *std::move(engine);
  return driver;
}

absl::StatusOr<std::string> Driver::Open(const CacheOptions& cache) {
  OpenSessionParams params;
  params.cache = cache;
  auto session = Blocking<SessionInfo>(
      [&](Engine::Done<SessionInfo> done) { engine_->OpenSession(params, std::move(done)); });
  if (!session.ok()) return session.status();
  return session->session_id;
}

absl::StatusOr<std::vector<std::string>> Driver::OpenMany(int count, const CacheOptions& cache) {
  std::vector<std::string> ids;
  for (int i = 0; i < count; ++i) {
    auto id = Open(cache);
    if (!id.ok()) return id.status();
    ids.push_back(*std::move(id));
  }
  return ids;
}

absl::StatusOr<SessionInfo> Driver::Get(const std::string& id) {
  return Blocking<SessionInfo>(
      [&](Engine::Done<SessionInfo> done) { engine_->GetSession(id, std::move(done)); });
}

absl::Status Driver::Close(const std::vector<std::string>& ids) {
  for (const std::string& id : ids) {
    const auto closed = Blocking<bool>(
        [&](Engine::Done<bool> done) { engine_->CloseSession(id, std::move(done)); });
    if (!closed.ok()) return closed.status();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Driver::PromptOf(int tokens, int number) {
  const auto text_of = [&](int count) {
    std::vector<TokenId> ids;
    size_t next = static_cast<size_t>(number) * 131;
    for (int i = 0; i < count; ++i) ids.push_back(text_[next++ % text_.size()]);
    return model_->tokenizer->Decode(ids, true);
  };
  const auto prompt_tokens = [&](const std::string& words) -> absl::StatusOr<int> {
    auto segment = FirstPrompt(*model_, "", {{.text = words, .image = nullptr}});
    if (!segment.ok()) return segment.status();
    return static_cast<int>(segment->prompt.size());
  };
  // Words cut out of a text and put together again may make other tokens: look a few times.
  int count = tokens;
  std::string words;
  for (int tries = 0; tries < 8; ++tries) {
    words = text_of(count);
    const auto made = prompt_tokens(words);
    if (!made.ok()) return made.status();
    if (*made == tokens) break;
    count += tokens - *made;
    if (count < 1) return absl::InvalidArgumentError(absl::StrCat("no prompt of ", tokens));
  }
  return words;
}

absl::StatusOr<std::vector<TurnTrace>> Driver::Run(const std::vector<std::string>& ids,
                                                   const std::vector<std::string>& prompts,
                                                   int generate) {
  std::vector<std::shared_ptr<TraceSink>> sinks;
  for (size_t i = 0; i < ids.size(); ++i) {
    sinks.push_back(std::make_shared<TraceSink>(generate));
    sinks.back()->Ask();
    engine_->Generate(TurnOf(ids[i], prompts[i % prompts.size()], generate), sinks.back());
  }
  std::vector<TurnTrace> traces;
  for (const auto& sink : sinks) {
    auto trace = sink->Take();
    if (!trace.ok()) return trace.status();
    if (trace->tokens.empty()) return absl::InternalError("no tokens came");
    traces.push_back(*std::move(trace));
  }
  return traces;
}

}  // namespace concertina::bench
