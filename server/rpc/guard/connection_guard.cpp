#include "server/rpc/guard/connection_guard.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>
#include <vector>

namespace concertina {
namespace {

using std::chrono::milliseconds;

// Each connection has three descriptors. The rest is for files, the metrics and gRPC itself.
constexpr int kDescriptorsEach = 3;
constexpr int kSpareDescriptors = 64;
// Kernel memory a client that reads nothing can fill, per socket (the kernel doubles it).
constexpr int kSendBuffer = 32 << 10;
constexpr milliseconds kThrottleTick{10};
constexpr milliseconds kSweepPeriod{250};
// Between two rounds with something to carry. Many answers write at nearly the same time, and what
// they wrote meanwhile goes on in one piece: waking up and sending cost more than the bytes.
constexpr std::chrono::microseconds kBreath{500};
// Tags of epoll: connection id * 2 + side.
constexpr uint64_t kListenerTag = 0;
constexpr uint64_t kWakeTag = 1;

int AffordableConnections() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t files = std::min<rlim_t>(limit.rlim_cur, 1 << 20);
  return std::max(1, (static_cast<int>(files) - kSpareDescriptors) / kDescriptorsEach);
}

void HangUp(FileDescriptor client) {
  const linger at_once{1, 0};
  setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

}  // namespace

struct ConnectionGuard::Entry {
  std::unique_ptr<GuardedConnection> connection;
  uint32_t client_events = 0;
  uint32_t server_events = 0;
  bool server_gone = false;  // no longer watched: it would report the hang-up for ever
};

ConnectionGuard::ConnectionGuard(GuardOptions options)
    : options_(std::move(options)), swept_(std::chrono::steady_clock::now()) {
  options_.max_connections = std::min(options_.max_connections, AffordableConnections());
}

absl::StatusOr<std::unique_ptr<ConnectionGuard>> ConnectionGuard::Listen(GuardOptions options) {
  std::unique_ptr<ConnectionGuard> guard(new ConnectionGuard(std::move(options)));
  if (auto status = guard->Open(); !status.ok()) return status;
  return guard;
}

absl::Status ConnectionGuard::Open() {
  auto listening = ListenOn(options_.listen);
  if (!listening.ok()) return listening.status();
  listener_ = std::move(listening->socket);
  port_ = listening->port;
  if (auto status = pairs_.Open(); !status.ok()) return status;
  epoll_ = FileDescriptor(epoll_create1(EPOLL_CLOEXEC));
  wake_ = FileDescriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kWakeTag}};
  if (!epoll_.ok() || !wake_.ok() ||
      epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0) {
    return absl::FailedPreconditionError("cannot watch sockets");
  }
  return absl::OkStatus();
}

ConnectionGuard::~ConnectionGuard() {
  stopping_ = true;
  Wake();
  if (thread_.joinable()) thread_.join();
}

void ConnectionGuard::Run() {
  thread_ = std::thread([this] { Loop(); });
}

void ConnectionGuard::Wake() {
  const uint64_t one = 1;
  static_cast<void>(!write(wake_.get(), &one, sizeof(one)));
}

void ConnectionGuard::StopAccepting() {
  accepting_ = false;
  Wake();
}

void ConnectionGuard::Drain(milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (open_.load() > 0 && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(milliseconds(1));
  }
}

void ConnectionGuard::Loop() {
  std::array<epoll_event, 64> events{};
  while (!stopping_) {
    const bool want_listener =
        accepting_.load() && std::chrono::steady_clock::now() >= accept_again_;
    if (want_listener != listening_ && listener_.ok()) {
      epoll_event event{.events = EPOLLIN, .data = {.u64 = kListenerTag}};
      epoll_ctl(epoll_.get(), want_listener ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, listener_.get(),
                &event);
      listening_ = want_listener;
      if (!accepting_.load()) listener_.Reset();
    }
    const milliseconds wait = throttled_.empty() ? kSweepPeriod : kThrottleTick;
    const int count =
        epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                   entries_.empty() && listening_ ? -1 : static_cast<int>(wait.count()));
    const TimePoint now = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) {
      OnEvent(events[static_cast<size_t>(i)].data.u64, events[static_cast<size_t>(i)].events, now);
    }
    Sweep(now);
    if (count > 0) std::this_thread::sleep_until(now + kBreath);
  }
}

void ConnectionGuard::OnEvent(uint64_t tag, uint32_t events, TimePoint now) {
  if (tag == kWakeTag) {
    uint64_t count = 0;
    static_cast<void>(!read(wake_.get(), &count, sizeof(count)));
    return;
  }
  if (tag == kListenerTag) return Accept(now);
  const uint64_t id = tag / 2;
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;  // closed by an event before this one
  const bool of_client = tag % 2 == 0;
  if (of_client && (events & (EPOLLHUP | EPOLLERR)) != 0) return Close(id, nullptr);
  if (!of_client && (events & (EPOLLHUP | EPOLLERR)) != 0 && !found->second.server_gone) {
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second.connection->server(), nullptr);
    found->second.server_gone = true;
  }
  Pump(id, now);
}

void ConnectionGuard::Accept(TimePoint now) {
  for (;;) {
    FileDescriptor client(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!client.ok()) {
      // Out of descriptors, used up by something else: ask again later.
      if (errno == EMFILE || errno == ENFILE) accept_again_ = now + kSweepPeriod;
      return;
    }
    if (static_cast<int>(entries_.size()) >= options_.max_connections) {
      options_.on_cut("CONNECTIONS_FULL");
      HangUp(std::move(client));
      continue;
    }
    Adopt(std::move(client), now);
  }
}

void ConnectionGuard::Adopt(FileDescriptor client, TimePoint now) {
  const int on = 1;
  setsockopt(client.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(client.get(), SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof(kSendBuffer));
  auto pair = pairs_.Make(PeerAddress(client.get()));
  if (!pair.ok()) {
    options_.on_cut("CONNECTIONS_FULL");
    return HangUp(std::move(client));
  }
  setsockopt(pair->second.get(), SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof(kSendBuffer));
  const uint64_t id = next_id_++;
  Entry entry;
  entry.connection = std::make_unique<GuardedConnection>(std::move(client), std::move(pair->first),
                                                         options_.limits, now);
  epoll_event event{.events = 0, .data = {.u64 = id * 2}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, entry.connection->client(), &event);
  event.data.u64 = id * 2 + 1;
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, entry.connection->server(), &event);
  entries_.emplace(id, std::move(entry));
  ++open_;
  options_.serve(pair->second.Take());
  Pump(id, now);
}

void ConnectionGuard::Pump(uint64_t id, TimePoint now) {
  Entry& entry = entries_.at(id);
  const GuardedConnection::State state = entry.connection->Pump(now);
  if (state == GuardedConnection::State::kClosed) {
    return Close(id, entry.connection->Fault(now));
  }
  if (state == GuardedConnection::State::kThrottled) {
    throttled_[id] = true;
  } else {
    throttled_.erase(id);
  }
  Watch(id, entry);
}

void ConnectionGuard::Watch(uint64_t id, Entry& entry) {
  const uint32_t client_events = entry.connection->ClientEvents();
  if (client_events != entry.client_events) {
    epoll_event event{.events = client_events, .data = {.u64 = id * 2}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, entry.connection->client(), &event);
    entry.client_events = client_events;
  }
  const uint32_t server_events = entry.connection->ServerEvents();
  if (server_events != entry.server_events && !entry.server_gone) {
    epoll_event event{.events = server_events, .data = {.u64 = id * 2 + 1}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, entry.connection->server(), &event);
    entry.server_events = server_events;
  }
}

// What no event says: allowances that grew, and time that ran out.
void ConnectionGuard::Sweep(TimePoint now) {
  std::vector<uint64_t> due;
  for (const auto& [id, unused] : throttled_) due.push_back(id);
  for (const uint64_t id : due) Pump(id, now);
  if (now - swept_ < kSweepPeriod) return;
  swept_ = now;
  std::vector<std::pair<uint64_t, const char*>> faulty;
  for (const auto& [id, entry] : entries_) {
    if (const char* reason = entry.connection->Fault(now); reason != nullptr) {
      faulty.emplace_back(id, reason);
    }
  }
  for (const auto& [id, reason] : faulty) Close(id, reason);
}

void ConnectionGuard::Close(uint64_t id, const char* reason) {
  if (reason != nullptr) options_.on_cut(reason);
  throttled_.erase(id);
  entries_.erase(id);  // closing a descriptor ends its watch
  --open_;
}

}  // namespace concertina
