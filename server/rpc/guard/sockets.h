#pragma once

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "server/rpc/guard/file_descriptor.h"

namespace concertina {

// TCP sockets by "host:port" and private connections inside the process; none of them blocks.

struct ListenSocket {
  FileDescriptor socket;
  int port = 0;
};

// FAILED_PRECONDITION when the address cannot be used. Port 0 takes a free one; two servers on one
// port are refused. "[::]" listens for IPv4 too.
absl::StatusOr<ListenSocket> ListenOn(const std::string& address);

// "192.0.2.1:5000", for names and logs; empty if it is not known.
std::string PeerAddress(int socket);

// Makes pairs of connected Unix sockets. The second one of each has a peer name of its own (an
// abstract address that ends in `label`), by which its reader can tell connections apart.
class PairMaker {
 public:
  absl::Status Open();
  absl::StatusOr<std::pair<FileDescriptor, FileDescriptor>> Make(const std::string& label);

 private:
  bool Connect(int socket);

  FileDescriptor listener_;
  std::string name_;
  uint64_t made_ = 0;
};

}  // namespace concertina
