#pragma once

#include <string>
#include <thread>
#include <vector>

namespace concertina::testing {

// A gate in front of a server on the loopback: passes bytes both ways until it is cut, which ends
// its connections as a client does that is killed or unplugged. Thread-safe.
class TcpGate {
 public:
  // To "127.0.0.1:PORT".
  explicit TcpGate(const std::string& target);
  ~TcpGate();
  TcpGate(const TcpGate&) = delete;
  TcpGate& operator=(const TcpGate&) = delete;

  const std::string& address() const { return address_; }
  // Ends the connections of now, with a reset or in order. New ones pass.
  void Cut(bool with_reset);

 private:
  struct Pair {
    int client, server;
  };
  void Run();
  void Accept();
  void EndAll(bool with_reset);
  // False if either side ended.
  bool Pass(int from, int to) const;

  std::string address_;
  int server_port_ = 0;
  int listener_ = -1;
  int wake_read_ = -1, wake_write_ = -1;
  std::vector<Pair> pairs_;  // of the gate's thread
  std::thread thread_;
};

}  // namespace concertina::testing
