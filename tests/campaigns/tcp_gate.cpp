#include "tests/campaigns/tcp_gate.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace concertina::testing {
namespace {

// What Cut and the destructor write into the pipe.
constexpr char kReset = 'r';
constexpr char kClose = 'c';
constexpr char kStop = 's';

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int TcpSocket() {
  const int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return file;
}

void End(int file, bool with_reset) {
  const linger reset{.l_onoff = 1, .l_linger = 0};
  if (with_reset) setsockopt(file, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  close(file);
}

}  // namespace

TcpGate::TcpGate(const std::string& target) {
  server_port_ = std::atoi(target.c_str() + target.rfind(':') + 1);
  listener_ = TcpSocket();
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  int pipe_ends[2] = {-1, -1};
  if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(listener_, SOMAXCONN) != 0 ||
      getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      pipe2(pipe_ends, O_CLOEXEC) != 0) {
    std::abort();
  }
  wake_read_ = pipe_ends[0];
  wake_write_ = pipe_ends[1];
  address_ = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  thread_ = std::thread([this] { Run(); });
}

TcpGate::~TcpGate() {
  static_cast<void>(!write(wake_write_, &kStop, 1));
  thread_.join();
  for (const int file : {listener_, wake_read_, wake_write_}) close(file);
}

void TcpGate::Cut(bool with_reset) {
  static_cast<void>(!write(wake_write_, with_reset ? &kReset : &kClose, 1));
}

void TcpGate::EndAll(bool with_reset) {
  for (const Pair& pair : pairs_) {
    End(pair.server, with_reset);
    End(pair.client, with_reset);
  }
  pairs_.clear();
}

void TcpGate::Accept() {
  const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (client < 0) return;
  const int server = TcpSocket();
  const sockaddr_in address = Loopback(server_port_);
  if (connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    close(server);
    close(client);
    return;
  }
  pairs_.push_back({client, server});
}

bool TcpGate::Pass(int from, int to) const {
  char buffer[16384];
  const ssize_t count = recv(from, buffer, sizeof(buffer), 0);
  for (ssize_t sent = 0; sent < count;) {
    const ssize_t n = send(to, buffer + sent, static_cast<size_t>(count - sent), MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += n;
  }
  return count > 0;
}

void TcpGate::Run() {
  while (true) {
    std::vector<pollfd> polled{{wake_read_, POLLIN, 0}, {listener_, POLLIN, 0}};
    for (const Pair& pair : pairs_) {
      polled.push_back({pair.client, POLLIN, 0});
      polled.push_back({pair.server, POLLIN, 0});
    }
    if (poll(polled.data(), polled.size(), -1) < 0) continue;
    if (polled[0].revents != 0) {
      char what = kStop;
      static_cast<void>(!read(wake_read_, &what, 1));
      EndAll(what == kReset);
      if (what == kStop) return;
      continue;
    }
    std::vector<Pair> kept;
    for (size_t i = 0; i < pairs_.size(); ++i) {
      const Pair& pair = pairs_[i];
      const bool alive = (polled[2 + 2 * i].revents == 0 || Pass(pair.client, pair.server)) &&
                         (polled[3 + 2 * i].revents == 0 || Pass(pair.server, pair.client));
      if (alive) {
        kept.push_back(pair);
      } else {
        End(pair.client, false);
        End(pair.server, false);
      }
    }
    pairs_ = std::move(kept);
    if (polled[1].revents != 0) Accept();
  }
}

}  // namespace concertina::testing
