// How much a prompt disturbs running answers, and they it: inter-token latency of decoding sessions
// while nothing else happens, during a long prompt, and during turns with a picture; time to first
// token of these with and without the others.
//
//   concertina_interference [--sessions 8] [--depth 900] [--tokens 2000] [--pictures 4]
//
// Calls the engine directly. Prints one JSON object a line: the repetitions, then all of them
// as "runs" with the parameters and "summary", the medians. Nothing else should use the machine.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <fstream>
#include <iostream>
#include <mutex>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "bench/engine/driver.h"
#include "bench/engine/flags.h"
#include "models/kernels/parallel.h"
#include "nlohmann/json.hpp"

namespace concertina::bench {
namespace {

constexpr std::chrono::milliseconds kQuiet{1500};  // of undisturbed answers
constexpr std::chrono::milliseconds kPause{200};   // between disturbances
constexpr int kWarmTokens = 8;                     // of each answer, before anything counts

struct Flags : EngineFlags {
  std::string vision = CONCERTINA_SOURCE_DIR "/models/bundled/smollm2-135m-vision";
  double budget = 0.2;
  double share = EngineOptions().prefill_share;
  int slice = EngineOptions().prefill_slice_rows;
  int sessions = 8, depth = 900, tokens = 2000, pictures = 4, repeat = 5;
};

struct Window {
  BenchClock::time_point begin, end;
};

// Notes when text comes and when the turn ends. Thread-safe.
class ArrivalSink final : public TurnSink {
 public:
  void OnEvent(TurnEvent event) override {
    if (!std::holds_alternative<DeltaEvent>(event)) return;
    const auto now = BenchClock::now();
    std::lock_guard lock(mutex_);
    arrivals_.push_back(now);
    changed_.notify_all();
  }
  void OnFinished(absl::Status status) override {
    std::lock_guard lock(mutex_);
    ended_ = true;
    status_ = std::move(status);
    changed_.notify_all();
  }

  // Blocks until so many deltas came, or the turn is over.
  void WaitFor(size_t deltas) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_ || arrivals_.size() >= deltas; });
  }
  absl::Status Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_; });
    return status_;
  }
  std::vector<BenchClock::time_point> arrivals() const {
    std::lock_guard lock(mutex_);
    return arrivals_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<BenchClock::time_point> arrivals_;
  bool ended_ = false;
  absl::Status status_;
};

double Milliseconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

double Quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
}

// A picture nobody has seen: every one has to pass the tower.
std::shared_ptr<const PreparedImage> NewPicture(const Model& model) {
  static int number = 0;
  const int64_t side = model.vision->image_side();
  auto picture = std::make_shared<PreparedImage>();
  picture->sha256 = "interference-" + std::to_string(number++);
  std::mt19937 random(static_cast<uint32_t>(number));
  std::uniform_real_distribution<float> values(-1, 1);
  picture->pixels.resize(static_cast<size_t>(3 * side * side));
  for (float& value : picture->pixels) value = values(random);
  return picture;
}

class Interference {
 public:
  Interference(Driver& driver, const Flags& flags) : driver_(driver), flags_(flags) {}

  absl::StatusOr<nlohmann::json> Run(int number) {
    auto long_prompt = driver_.PromptOf(flags_.tokens, number);
    if (!long_prompt.ok()) return long_prompt.status();
    nlohmann::json run;
    run["prompt"]["alone_ms"] = Turn({{.text = *long_prompt, .image = nullptr}}).first_token_ms;
    std::vector<double> alone;
    for (int i = 0; i < flags_.pictures; ++i) alone.push_back(Turn(Question()).first_token_ms);
    run["picture"]["alone_ms"] = Quantile(alone, 0.5);

    if (absl::Status status = StartAnswers(); !status.ok()) return status;
    const auto begin = BenchClock::now();
    std::this_thread::sleep_for(kQuiet);
    const std::vector<Window> quiet = {{begin, BenchClock::now()}};
    const Disturbed prompt = Turn({{.text = *long_prompt, .image = nullptr}});
    run["prompt"]["beside_ms"] = prompt.first_token_ms;
    std::vector<Window> during_pictures;
    std::vector<double> beside;
    for (int i = 0; i < flags_.pictures; ++i) {
      std::this_thread::sleep_for(kPause);
      const Disturbed picture = Turn(Question());
      during_pictures.push_back(picture.window);
      beside.push_back(picture.first_token_ms);
    }
    run["picture"]["beside_ms"] = Quantile(beside, 0.5);
    run["undisturbed"] = Latency(quiet);
    run["prompt"]["latency"] = Latency({prompt.window});
    run["picture"]["latency"] = Latency(during_pictures);
    StopAnswers();
    return run;
  }

 private:
  struct Disturbed {
    Window window;  // from the call to the first token
    double first_token_ms;
  };

  std::vector<ContentPart> Question() const {
    return {{.text = {}, .image = NewPicture(driver_.model())},
            {.text = "Describe the image in detail.", .image = nullptr}};
  }

  std::shared_ptr<Engine::Handle> Start(const std::string& id, std::vector<ContentPart> parts,
                                        int32_t tokens, std::shared_ptr<ArrivalSink> sink) {
    GenerateParams params;
    params.session_id = id;
    params.parts = std::move(parts);
    params.max_tokens = tokens;
    params.ignore_eos = true;
    params.arrival = BenchClock::now();
    return driver_.engine().Generate(std::move(params), std::move(sink));
  }

  CacheOptions Folded() const { return Cache("concertina", Budget::Ratio(flags_.budget)); }

  // One token of a new session. The session cannot be missing, nor its turn refused.
  Disturbed Turn(std::vector<ContentPart> parts) {
    const std::string id = *driver_.Open(Folded());
    auto sink = std::make_shared<ArrivalSink>();
    const auto begin = BenchClock::now();
    const auto handle = Start(id, std::move(parts), 1, sink);
    if (absl::Status status = sink->Wait(); !status.ok()) std::cerr << status << '\n';
    const auto end = BenchClock::now();
    driver_.Close({id}).IgnoreError();
    return {.window = {begin, end}, .first_token_ms = Milliseconds(end - begin)};
  }

  absl::Status StartAnswers() {
    auto ids = driver_.OpenMany(flags_.sessions, Folded());
    if (!ids.ok()) return ids.status();
    ids_ = *std::move(ids);
    for (int i = 0; i < flags_.sessions; ++i) {
      auto prompt = driver_.PromptOf(flags_.depth, 100 + i);
      if (!prompt.ok()) return prompt.status();
      sinks_.push_back(std::make_shared<ArrivalSink>());
      handles_.push_back(Start(ids_[static_cast<size_t>(i)], {{.text = *prompt, .image = nullptr}},
                               driver_.engine().options().max_tokens_limit / 4, sinks_.back()));
    }
    for (const auto& sink : sinks_) sink->WaitFor(kWarmTokens);
    return absl::OkStatus();
  }

  void StopAnswers() {
    for (const auto& handle : handles_) handle->Cancel(absl::CancelledError("measured"));
    for (const auto& sink : sinks_) sink->Wait().IgnoreError();
    driver_.Close(ids_).IgnoreError();
    handles_.clear();
    sinks_.clear();
  }

  // Of the tokens that came within the windows, all answers together.
  nlohmann::json Latency(const std::vector<Window>& windows) const {
    std::vector<double> gaps;
    for (const auto& sink : sinks_) {
      const auto arrivals = sink->arrivals();
      for (size_t i = 1; i < arrivals.size(); ++i) {
        const auto inside = [&](const Window& window) {
          return arrivals[i] > window.begin && arrivals[i] <= window.end;
        };
        if (!std::any_of(windows.begin(), windows.end(), inside)) continue;
        gaps.push_back(Milliseconds(arrivals[i] - arrivals[i - 1]));
      }
    }
    return {{"p50_ms", Quantile(gaps, 0.5)},
            {"p99_ms", Quantile(gaps, 0.99)},
            {"most_ms", Quantile(gaps, 1)},
            {"tokens", gaps.size()}};
  }

  Driver& driver_;
  const Flags& flags_;
  std::vector<std::string> ids_;
  std::vector<std::shared_ptr<ArrivalSink>> sinks_;
  std::vector<std::shared_ptr<Engine::Handle>> handles_;
};

// Medians of the ratios that count.
nlohmann::json Summary(const std::vector<nlohmann::json>& runs) {
  const auto median = [&](auto ratio) {
    std::vector<double> values;
    for (const nlohmann::json& run : runs) values.push_back(ratio(run));
    return Quantile(values, 0.5);
  };
  const auto number = [](const nlohmann::json& value) { return value.get<double>(); };
  nlohmann::json summary;
  for (const char* what : {"prompt", "picture"}) {
    summary[what] = {
        {"p99_ratio", median([&](const nlohmann::json& run) {
           return number(run[what]["latency"]["p99_ms"]) / number(run["undisturbed"]["p99_ms"]);
         })},
        {"p50_ratio", median([&](const nlohmann::json& run) {
           return number(run[what]["latency"]["p50_ms"]) / number(run["undisturbed"]["p50_ms"]);
         })},
        {"first_token_ratio", median([&](const nlohmann::json& run) {
           return number(run[what]["beside_ms"]) / number(run[what]["alone_ms"]);
         })}};
  }
  return summary;
}

absl::StatusOr<nlohmann::json> Measure(const Flags& flags) {
  const auto weights = WeightsOf(flags.weights);
  if (!weights.ok()) return weights.status();
  SetThreads(flags.threads);  // types are measured with as many as the engine will have
  auto model = LoadModel({.path = flags.model,
                          .vision_path = flags.vision,
                          .weight_type = *weights,
                          .chat_family = {}});
  if (!model.ok()) return model.status();
  EngineOptions options;
  options.threads = flags.threads;
  options.prefill_share = flags.share;
  options.prefill_slice_rows = flags.slice;
  std::ostringstream text;
  text << std::ifstream(flags.text).rdbuf();
  auto driver = Driver::Start(options, *model, text.str());
  if (!driver.ok()) return driver.status();
  Interference interference(**driver, flags);
  std::vector<nlohmann::json> runs;
  for (int i = 0; i <= flags.repeat; ++i) {
    auto run = interference.Run(i);
    if (!run.ok()) return run.status();
    if (i == 0) continue;  // warms up
    std::cout << run->dump() << std::endl;
    runs.push_back(*std::move(run));
  }
  return nlohmann::json{{"sessions", flags.sessions}, {"depth", flags.depth},
                        {"tokens", flags.tokens},     {"budget", flags.budget},
                        {"share", flags.share},       {"weights", flags.weights},
                        {"summary", Summary(runs)},   {"runs", runs}};
}

}  // namespace
}  // namespace concertina::bench

int main(int argc, char** argv) {
  concertina::bench::Flags flags;
  CLI::App app("Measures how prompts and running answers disturb each other.");
  flags.AddTo(app);
  app.add_option("--vision", flags.vision, "vision adapter of a .gguf model");
  app.add_option("--budget", flags.budget, "share of the tokens that a cache keeps");
  app.add_option("--share", flags.share, "EngineOptions::prefill_share");
  app.add_option("--slice", flags.slice, "EngineOptions::prefill_slice_rows");
  app.add_option("--sessions", flags.sessions, "answers that run")->check(CLI::PositiveNumber);
  app.add_option("--depth", flags.depth, "tokens of their prompts")->check(CLI::PositiveNumber);
  app.add_option("--tokens", flags.tokens, "of the long prompt")->check(CLI::PositiveNumber);
  app.add_option("--pictures", flags.pictures, "turns with one")->check(CLI::PositiveNumber);
  app.add_option("--repeat", flags.repeat, "repetitions")->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  const auto result = concertina::bench::Measure(flags);
  if (!result.ok()) {
    std::cerr << "error: " << result.status() << '\n';
    return 1;
  }
  std::cout << result->dump() << std::endl;
  return 0;
}
