#include "client/cli/interrupts.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <utility>

namespace concertina::cli {

Interrupts::Interrupts() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  fd_ = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  // A closed output is noticed by its write: the session must still be closed.
  std::signal(SIGPIPE, SIG_IGN);
}

Interrupts::~Interrupts() { close(fd_); }

int Interrupts::Take() {
  signalfd_siginfo info{};
  if (read(fd_, &info, sizeof(info)) != sizeof(info)) return 0;
  if (info.ssi_signo != SIGINT) leaving_.store(true);
  return static_cast<int>(info.ssi_signo);
}

void Interrupts::DropCtrlC() {
  while (Take() != 0) {
  }
}

Interrupts::Watch::Watch(Interrupts& interrupts, std::function<void()> stop)
    : interrupts_(interrupts),
      stop_(std::move(stop)),
      end_fd_(eventfd(0, EFD_CLOEXEC)),
      thread_([this] { Run(); }) {}

Interrupts::Watch::~Watch() {
  const uint64_t one = 1;
  static_cast<void>(!write(end_fd_, &one, sizeof(one)));
  thread_.join();
  close(end_fd_);
}

void Interrupts::Watch::Run() {
  for (int signals = 0;;) {
    std::array<pollfd, 2> fds{{{interrupts_.fd(), POLLIN, 0}, {end_fd_, POLLIN, 0}}};
    if (poll(fds.data(), fds.size(), -1) < 0) continue;
    if (fds[0].revents != 0 && interrupts_.Take() != 0) {
      if (++signals > 1) interrupts_.leaving_.store(true);
      stop_();
    }
    if (fds[1].revents != 0) return;
  }
}

}  // namespace concertina::cli
