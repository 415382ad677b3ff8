#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/bench/pacer.h"
#include "client/bench/picture.h"
#include "client/bench/prompt_maker.h"
#include "client/bench/report.h"
#include "client/client.h"

namespace concertina::bench {

// What is asked of a server.
struct LoadOptions {
  int sessions = 1;     // open at once
  int concurrency = 1;  // turns in flight at once, at most
  int turns = 1;        // of a session; then it is closed, and a new one opened
  Pacer::Options pace;
  int retries = 0;  // of a turn refused for now, each when the server says
  client::OpenOptions open;
  client::AskOptions ask;
  uint64_t seed = 0;                       // of prompts and pictures
  std::vector<PictureSize> picture_sizes;  // one made for each session, sizes by turns
  std::vector<std::string> picture_files;  // or these encoded files, by turns
};

// Many conversations with one server, each in a thread of its own. The pictures are part of a
// session's first turn. Clients are connections; sessions spread over them.
class Load {
 public:
  Load(std::vector<std::unique_ptr<client::Client>> clients, const PromptMaker& prompts,
       const LoadOptions& options);
  ~Load();

  // Runs to the end, once. INTERNAL if a picture cannot be made.
  absl::StatusOr<Report> Run();

  // Ends the run early: cancels what is in flight, counts it as nothing. Thread-safe.
  void Stop();

 private:
  class Worker;
  friend class Worker;

  Pacer::Offset SinceStart() const;
  // Waits until then; false if the run was stopped.
  bool WaitUntil(Pacer::Offset offset);
  // At most `concurrency` threads are between these two. False if the run was stopped.
  bool Enter();
  void Leave();

  const std::vector<std::unique_ptr<client::Client>> clients_;
  const PromptMaker& prompts_;
  const LoadOptions options_;
  Pacer pacer_;
  Collector collector_;
  Clock::time_point start_;
  std::atomic<uint64_t> sessions_begun_{0};
  std::atomic<bool> stopped_{false};  // set under mutex_, for those who wait
  std::vector<std::unique_ptr<Worker>> workers_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // All below guarded by mutex_.
  int in_flight_ = 0;
  double last_end_s_ = 0;
  absl::Status fault_;  // of ours
};

}  // namespace concertina::bench
