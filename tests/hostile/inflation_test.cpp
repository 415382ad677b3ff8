// Small messages that would be large objects, and deep ones: refused before they are parsed, and
// memory shows it.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <thread>

#include "client/errors.h"
#include "grpcpp/create_channel.h"
#include "tests/hostile/neighbour.h"
#include "tests/rpc/raw_call.h"

namespace concertina::testing {
namespace {

constexpr char kOpenSession[] = "/concertina.v1.InferenceService/OpenSession";
constexpr char kTokenize[] = "/concertina.v1.InferenceService/Tokenize";
constexpr char kGetSession[] = "/concertina.v1.InferenceService/GetSession";
constexpr size_t kMessageBytes = size_t{4} << 20;
constexpr int kAtOnce = 16;
constexpr int64_t kMemoryLimit = int64_t{256} << 20;

class Inflation : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = ServerProcess::Start(TinyLlava());
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
  }

  std::shared_ptr<grpc::Channel> Channel() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(server_->target(), grpc::InsecureChannelCredentials(),
                                     arguments);
  }

  std::unique_ptr<ServerProcess> server_;
};

// Field 5 of OpenSession is the history: each empty message of it takes two bytes.
TEST_F(Inflation, RepeatedEmptyMessages) {
  std::string request;
  while (request.size() < kMessageBytes) request += std::string("\x2a\x00", 2);
  const pid_t pid = server_->process().pid();
  const int64_t before = ProcessMemory(pid, "VmRSS");
  std::atomic<int> refused{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < kAtOnce; ++i) {
    clients.emplace_back([&] {
      const grpc::Status status = CallRaw(Channel(), kOpenSession, request);
      if (status.error_code() == grpc::StatusCode::INVALID_ARGUMENT) ++refused;
    });
  }
  for (std::thread& client : clients) client.join();
  const int64_t peak = ProcessMemory(pid, "VmHWM");
  std::printf("%d x %zu MiB of empty messages: %d refused, resident %.1f -> peak %.1f MiB\n",
              kAtOnce, kMessageBytes >> 20, refused.load(), static_cast<double>(before) / (1 << 20),
              static_cast<double>(peak) / (1 << 20));
  EXPECT_EQ(refused, kAtOnce);
  EXPECT_LE(peak - before, kMemoryLimit);
  EXPECT_LE(TimeToServe(*server_), std::chrono::milliseconds(2000));
}

TEST_F(Inflation, DepthOfAThousand) {
  // Messages in messages, and groups in groups; neither is in the API.
  std::string nested;
  for (int i = 0; i < 1000 && nested.size() < 60'000; ++i) {
    std::string length;
    for (size_t left = nested.size(); left > 0 || length.empty(); left >>= 7) {
      length += static_cast<char>((left & 0x7f) | (left >> 7 > 0 ? 0x80U : 0U));
    }
    std::string outer(1, '\x2a');
    outer += length;
    outer += nested;
    nested.swap(outer);
  }
  std::string groups(1000, '\x3b');
  groups.append(1000, '\x3c');
  const auto channel = Channel();
  for (const std::string& request : {nested, groups}) {
    EXPECT_EQ(CallRaw(channel, kOpenSession, request).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
  }
  EXPECT_EQ(CallRaw(channel, kGetSession, groups).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(Inflation, SmallCallsTakeSmallMessagesOnly) {
  std::string request("\x0a\xa0\x8d\x06", 4);  // 100,000 bytes of text
  request += std::string(100'000, 'a');
  const auto channel = Channel();
  for (const char* path : {kTokenize, kGetSession}) {
    const grpc::Status status = CallRaw(channel, path, request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << path;
  }
}

}  // namespace
}  // namespace concertina::testing
