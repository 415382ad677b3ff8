#include "client/bench/worker.h"

#include <chrono>
#include <utility>

#include "client/errors.h"

namespace concertina::bench {
namespace {

// After a failure without a hint: a server that is down is not to be stormed.
constexpr std::chrono::milliseconds kPause{100};
// Numbers of a session's turns, so that every turn of a run has a seed of its own.
constexpr uint64_t kTurnsPerSession = 1 << 20;

bool IsRefusal(const absl::Status& status) {
  return status.code() == absl::StatusCode::kResourceExhausted ||
         status.code() == absl::StatusCode::kUnavailable;
}

std::chrono::milliseconds PauseAfter(const absl::Status& status) {
  return client::DetailsOf(status).retry_after.value_or(kPause);
}

}  // namespace

void Load::Worker::Run() {
  while (!load_.stopped_) {
    const auto due = load_.pacer_.Next(load_.SinceStart());
    if (!due.has_value()) break;
    Request(*due);
  }
  EndSession();
}

void Load::Worker::Cancel() {
  const std::lock_guard lock(mutex_);
  if (conversation_.has_value()) conversation_->Cancel();
}

absl::Status Load::Worker::EnsureSession() {
  if (conversation_.has_value() && turns_ < load_.options_.turns) return absl::OkStatus();
  EndSession();
  auto conversation = client_.Open(load_.options_.open);
  if (!conversation.ok()) return conversation.status();
  session_number_ = load_.sessions_begun_++;
  turns_ = 0;
  const std::lock_guard lock(mutex_);
  conversation_.emplace(*std::move(conversation));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::InputPart>> Load::Worker::MakeParts() {
  const LoadOptions& options = load_.options_;
  const uint64_t session_seed = options.seed + session_number_;
  std::vector<v1::InputPart> parts;
  if (turns_ == 0 && !options.picture_sizes.empty()) {
    const auto& sizes = options.picture_sizes;
    auto picture = MakePicture(sizes[session_number_ % sizes.size()], session_seed);
    if (!picture.ok()) return picture.status();
    parts.push_back(client::ImageFile(*std::move(picture)));
  } else if (turns_ == 0 && !options.picture_files.empty()) {
    const auto& files = options.picture_files;
    parts.push_back(client::ImageFile(files[session_number_ % files.size()]));
  }
  const uint64_t turn_seed = session_seed * kTurnsPerSession + static_cast<uint64_t>(turns_);
  parts.push_back(client::Text(load_.prompts_.Text(turn_seed)));
  return parts;
}

absl::StatusOr<client::Answer> Load::Worker::Ask(const std::vector<v1::InputPart>& parts,
                                                 TurnTimer& timer) {
  client::AskOptions ask = load_.options_.ask;
  ask.on_event = [&timer](const v1::GenerateResponse& event) {
    if (event.has_delta()) timer.Add(event.delta().token_ids_size(), Clock::now());
  };
  for (int retries_left = load_.options_.retries;; --retries_left) {
    // A stop just before Ask is seen here.
    auto answer =
        conversation_->Ask(parts, ask, [this](std::string_view) { return !load_.stopped_; });
    if (answer.ok() || !IsRefusal(answer.status())) return answer;
    load_.collector_.Refused(answer.status(), retries_left > 0);
    if (retries_left == 0) return answer;
    if (!load_.WaitUntil(load_.SinceStart() + PauseAfter(answer.status()))) return answer;
  }
}

void Load::Worker::Fail(const absl::Status& status) {
  load_.collector_.Failed(status);
  // A refused turn was not said; after any other failure what the session knows is not clear.
  if (!IsRefusal(status)) EndSession();
}

void Load::Worker::Request(Pacer::Offset due) {
  absl::Status ready = EnsureSession();
  if (!ready.ok()) {
    if (IsRefusal(ready)) load_.collector_.Refused(ready, false);
    Fail(ready);
    load_.WaitUntil(load_.SinceStart() + PauseAfter(ready));
    return;
  }
  const auto parts = MakeParts();
  if (!parts.ok()) {
    {
      const std::lock_guard lock(load_.mutex_);
      load_.fault_ = parts.status();
    }
    load_.Stop();
    return;
  }
  if (!load_.WaitUntil(due) || !load_.Enter()) return;
  const double lag_s = (load_.SinceStart() - due).count();
  TurnTimer timer(Clock::now());
  const auto answer = Ask(*parts, timer);
  const TurnTimes& times = timer.End(Clock::now());
  load_.Leave();
  if (!answer.ok()) {
    Fail(answer.status());
    load_.WaitUntil(load_.SinceStart() + PauseAfter(answer.status()));
  } else if (!answer->stopped) {
    ++turns_;
    cache_ = answer->completed.cache();
    load_.collector_.Answered(times, answer->completed.usage(), lag_s);
  }
}

void Load::Worker::EndSession() {
  if (cache_.has_value()) load_.collector_.SessionEnded(*cache_);
  cache_.reset();
  // Closing is a call: not under the lock.
  std::optional<client::Conversation> ended;
  const std::lock_guard lock(mutex_);
  ended.swap(conversation_);
}

}  // namespace concertina::bench
