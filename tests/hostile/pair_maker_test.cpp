// The guard's private connections go on when their queue is full of others'.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <vector>

#include "server/rpc/guard/sockets.h"

namespace concertina::testing {
namespace {

TEST(PairMaker, SurvivesAQueueFullOfStrangers) {
  PairMaker maker;
  ASSERT_TRUE(maker.Open().ok());
  const auto first = maker.Make("a");
  ASSERT_TRUE(first.ok()) << first.status();
  sockaddr_un address{};
  socklen_t size = sizeof(address);
  ASSERT_EQ(getpeername(first->first.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  std::vector<FileDescriptor> strangers;
  int refused = 0;
  for (int i = 0; i < 64; ++i) {
    strangers.emplace_back(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
    const auto* to = reinterpret_cast<const sockaddr*>(&address);
    refused += connect(strangers.back().get(), to, size) != 0 ? 1 : 0;
  }
  ASSERT_GT(refused, 0) << "the queue is not full";
  for (int i = 0; i < 3; ++i) {
    const auto pair = maker.Make("b");
    ASSERT_TRUE(pair.ok()) << pair.status();
    char byte = 'x';
    EXPECT_EQ(send(pair->first.get(), &byte, 1, 0), 1);
    EXPECT_EQ(recv(pair->second.get(), &byte, 1, 0), 1);
  }
}

}  // namespace
}  // namespace concertina::testing
