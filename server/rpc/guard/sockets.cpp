#include "server/rpc/guard/sockets.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace concertina {
namespace {

constexpr int kBacklog = 1024;

absl::Status CannotListen(const std::string& address, const char* why) {
  return absl::FailedPreconditionError(absl::StrCat("cannot listen on ", address, ": ", why));
}

struct HostPort {
  std::string host;
  std::string port;
};

// "[::1]:50051", "127.0.0.1:50051".
HostPort Split(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return {};
  std::string host = address.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  return {std::move(host), address.substr(colon + 1)};
}

FileDescriptor BoundSocket(const addrinfo& address) {
  FileDescriptor file(socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  const int off = 0;
  setsockopt(file.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (address.ai_family == AF_INET6) {
    setsockopt(file.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  }
  if (bind(file.get(), address.ai_addr, address.ai_addrlen) != 0 ||
      listen(file.get(), kBacklog) != 0) {
    return FileDescriptor();
  }
  return file;
}

int PortOf(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  return ntohs(address.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                   : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

// An abstract address: a zero byte, then the name.
socklen_t AbstractAddress(std::string_view name, sockaddr_un* address) {
  *address = {};
  address->sun_family = AF_UNIX;
  const size_t size = std::min(name.size(), sizeof(address->sun_path) - 1);
  std::memcpy(address->sun_path + 1, name.data(), size);
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + size);
}

FileDescriptor UnixSocket(std::string_view name) {
  FileDescriptor file(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  const socklen_t size = AbstractAddress(name, &address);
  if (bind(file.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) file.Reset();
  return file;
}

bool PeerIs(int socket, std::string_view name) {
  sockaddr_un wanted{};
  sockaddr_un peer{};
  const socklen_t wanted_size = AbstractAddress(name, &wanted);
  socklen_t size = sizeof(peer);
  return getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &size) == 0 &&
         size == wanted_size && std::memcmp(&peer, &wanted, size) == 0;
}

}  // namespace

absl::StatusOr<ListenSocket> ListenOn(const std::string& address) {
  const HostPort parts = Split(address);
  if (parts.port.empty()) return CannotListen(address, "not host:port");
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(parts.host.empty() ? nullptr : parts.host.c_str(),
                                parts.port.c_str(), &hints, &found);
  if (error != 0) return CannotListen(address, gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, &freeaddrinfo);
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    FileDescriptor file = BoundSocket(*at);
    if (!file.ok()) continue;
    const int port = PortOf(file.get());
    return ListenSocket{std::move(file), port};
  }
  return CannotListen(address, std::strerror(errno));
}

std::string PeerAddress(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  if (getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host, sizeof(host), port,
                  sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "";
  }
  return absl::StrCat(host, ":", port);
}

absl::Status PairMaker::Open() {
  name_ = absl::StrCat("concertina/", getpid(), "/", reinterpret_cast<uintptr_t>(this));
  listener_ = UnixSocket(name_);
  if (!listener_.ok() || listen(listener_.get(), 16) != 0) {
    return absl::FailedPreconditionError("cannot make a Unix socket");
  }
  return absl::OkStatus();
}

// What waits to be accepted is not ours when the queue is full: pairs given up half-made for want
// of descriptors, or connections of other processes that found our address.
bool PairMaker::Connect(int socket) {
  sockaddr_un address{};
  const socklen_t size = AbstractAddress(name_, &address);
  const auto connects = [&] {
    return connect(socket, reinterpret_cast<const sockaddr*>(&address), size) == 0;
  };
  if (connects()) return true;
  while (FileDescriptor(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)).ok()) {
  }
  return connects();
}

absl::StatusOr<std::pair<FileDescriptor, FileDescriptor>> PairMaker::Make(
    const std::string& label) {
  const std::string name = absl::StrCat(name_, "/", ++made_, "/", label);
  FileDescriptor first = UnixSocket(name);
  if (!first.ok() || !Connect(first.get())) {
    return absl::UnavailableError("cannot connect a Unix socket");
  }
  for (;;) {
    FileDescriptor second(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!second.ok()) return absl::UnavailableError("cannot accept a Unix socket");
    // Another process of this machine may have found our address.
    if (PeerIs(second.get(), name)) return std::pair(std::move(first), std::move(second));
  }
}

}  // namespace concertina
