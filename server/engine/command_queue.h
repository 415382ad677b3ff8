#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

namespace concertina {

// What other threads ask of the engine thread, in order. Push is thread-safe; Take is the engine's.
class CommandQueue {
 public:
  using Command = std::function<void()>;

  // False once closed: the command is then not taken and not run.
  bool Push(Command command) {
    {
      std::lock_guard lock(mutex_);
      if (closed_) return false;
      commands_.push_back(std::move(command));
    }
    ready_.notify_one();
    return true;
  }

  // Everything pushed so far. Waits up to `timeout` for the first; zero does not wait.
  std::vector<Command> Take(std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    if (timeout.count() > 0) {
      ready_.wait_for(lock, timeout, [&] { return !commands_.empty() || closed_; });
    }
    return std::exchange(commands_, {});
  }

  void Close() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    ready_.notify_all();
  }

  bool closed() {
    std::lock_guard lock(mutex_);
    return closed_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable ready_;
  std::vector<Command> commands_;
  bool closed_ = false;
};

}  // namespace concertina
