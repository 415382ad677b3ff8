#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace concertina {

// Has something to hand to gRPC.
class Sender {
 public:
  virtual ~Sender() = default;
  // Called on the outbox's thread.
  virtual void Send() = 0;
};

// Hands the engine's messages to gRPC on a thread of its own: a write costs tens of microseconds,
// which between two steps would keep every core waiting. One wake-up serves all answers of a step,
// and after n messages the next ones follow n milliseconds later: what many answers say in that
// time is joined, so that writing takes a tenth of a core at most. Thread-safe.
class Outbox {
 public:
  Outbox();
  // Sends what was added.
  ~Outbox();
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;

  // Returns at once; Send() follows.
  void Add(std::shared_ptr<Sender> sender);

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable wake_;
  // All below guarded by mutex_.
  bool stopping_ = false;
  std::vector<std::shared_ptr<Sender>> senders_;

  std::thread thread_;  // last: starts when everything else is there
};

}  // namespace concertina
