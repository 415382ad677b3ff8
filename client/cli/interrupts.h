#pragma once

#include <atomic>
#include <functional>
#include <thread>

namespace concertina::cli {

// SIGINT, SIGTERM and SIGHUP read from a file instead of ending the process, so that an answer can
// be stopped and a session closed. One per process, made before any other thread (they inherit the
// blocked signals), kept to the end of the process.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  // Readable when a signal waits. Only one of a prompt and a Watch may read at a time.
  int fd() const { return fd_; }

  // Takes one waiting signal: its number, 0 if none waits. Never blocks.
  int Take();

  // Forgets a Ctrl-C that waits; the other signals still count.
  void DropCtrlC();

  // A signal asked to leave for good.
  bool leaving() const { return leaving_.load(); }

  // Calls `stop` on a thread of its own at the first signal; a second one, or any signal but
  // SIGINT, sets leaving(). Until destroyed.
  class Watch {
   public:
    Watch(Interrupts& interrupts, std::function<void()> stop);
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

   private:
    void Run();

    Interrupts& interrupts_;
    std::function<void()> stop_;
    int end_fd_;
    std::thread thread_;
  };

 private:
  int fd_;
  std::atomic<bool> leaving_{false};
};

}  // namespace concertina::cli
