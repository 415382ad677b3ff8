// Bytes that are not quite HTTP/2: after each kind an ordinary call works, and memory stays.
#include <gtest/gtest.h>

#include <cstdio>
#include <random>

#include "tests/hostile/campaign.h"
#include "tests/hostile/http2_client.h"
#include "tests/hostile/mutation.h"
#include "tests/hostile/neighbour.h"

namespace concertina::testing {
namespace {

using std::chrono::milliseconds;

constexpr int64_t kMemoryLimit = int64_t{8} << 20;

struct BadClient {
  const char* name;
  std::string bytes;
};

std::string Repeated(const std::string& piece, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += piece;
  return out;
}

std::vector<BadClient> ClientsOfAnotherProtocol() {
  return {
      {"nothing", ""},
      {"one byte", "P"},
      {"HTTP/1.1", "POST / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"HTTP/1.1 upgrade", "GET / HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"},
      {"TLS", std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11)},
      {"SSH", "SSH-2.0-OpenSSH_9.2\r\n"},
      {"zeroes", std::string(5000, '\0')},
      {"a preface cut short", Preface().substr(0, 20)},
      {"a preface with a fault", "PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"},
      {"two prefaces", Preface() + Preface()}};
}

std::vector<BadClient> BadFrames() {
  const std::string greeting = Preface() + Settings();
  const std::string headers = Frame(kHeadersFrame, kEndHeaders, 1, CallHeaders("GetModel"));
  const auto after = [&](const std::string& bytes) { return greeting + bytes; };
  const std::string four = Big32(1);
  return {
      {"no settings", Preface() + headers},
      {"settings of 5 bytes", Preface() + Frame(kSettingsFrame, 0, 0, "12345")},
      {"settings on a stream", Preface() + Frame(kSettingsFrame, 0, 1)},
      {"an acknowledgement with a payload", after(Frame(kSettingsFrame, 1, 0, four))},
      {"a window above 2^31", Preface() + Settings(4, 0x80000000)},
      {"a frame size of 1", Preface() + Settings(5, 1)},
      {"1,000 settings", after(Repeated(Settings(4, 65535), 1000))},
      {"1,000 pings", after(Repeated(Frame(kPingFrame, 0, 0, "12345678"), 1000))},
      {"a ping of 7 bytes", after(Frame(kPingFrame, 0, 0, "1234567"))},
      {"data on stream 0", after(Frame(kDataFrame, 0, 0, "x"))},
      {"data on a stream never opened", after(Frame(kDataFrame, 0, 7, "x"))},
      {"headers on stream 0", after(Frame(kHeadersFrame, kEndHeaders, 0, CallHeaders("GetModel")))},
      {"headers on an even stream",
       after(Frame(kHeadersFrame, kEndHeaders, 2, CallHeaders("GetModel")))},
      {"streams that go backwards",
       after(WholeCall(5, "GetModel", "") + WholeCall(3, "GetModel", ""))},
      {"a continuation out of place", after(Frame(9, kEndHeaders, 1, "abc"))},
      {"headers without end",
       after(Frame(kHeadersFrame, 0, 1, CallHeaders("GetModel")) + Repeated(Frame(9, 0, 1,
                                                                                  "\x40\x01"
                                                                                  "a"
                                                                                  "\x01"
                                                                                  "b"),
                                                                            5000))},
      {"headers, then another stream inside",
       after(Frame(kHeadersFrame, 0, 1, CallHeaders("GetModel")) + WholeCall(3, "GetModel", ""))},
      {"an index outside the table", after(Frame(kHeadersFrame, kEndHeaders, 1, "\xff\xff\x7f"))},
      {"a number without end",
       after(Frame(kHeadersFrame, kEndHeaders, 1, std::string(200, '\xff')))},
      {"Huffman code of noise", after(Frame(kHeadersFrame, kEndHeaders, 1,
                                            "\x40\x85\xff\xff\xff\xff\xff\x01"
                                            "a"))},
      {"a table of 2^30 bytes",
       after(Frame(kHeadersFrame, kEndHeaders, 1, "\x3f\xe1\xff\xff\xff\x03"))},
      {"padding longer than the frame", after(Frame(kHeadersFrame, 0x0c, 1,
                                                    "\xff"
                                                    "a"))},
      {"a window update of 0", after(headers + Frame(kWindowUpdateFrame, 0, 1, Big32(0)))},
      {"a window beyond 2^31",
       after(headers + Repeated(Frame(kWindowUpdateFrame, 0, 0, Big32(0x7fffffff)), 3))},
      {"a window update of 3 bytes", after(Frame(kWindowUpdateFrame, 0, 0, "abc"))},
      {"a reset of 3 bytes", after(headers + Frame(kRstStreamFrame, 0, 1, "abc"))},
      {"a reset of a stream never opened", after(Frame(kRstStreamFrame, 0, 9, four))},
      {"a push promise", after(Frame(5, kEndHeaders, 1, four + CallHeaders("GetModel")))},
      {"a priority on itself", after(headers + Frame(2, 0, 1, four + "x"))},
      {"goaway", after(Frame(kGoAwayFrame, 0, 0, Big32(0) + Big32(0)) + headers)},
      {"an unknown frame", after(Frame(0xee, 0xff, 3, std::string(300, 'a')))},
      {"a frame of 16 MiB", after(std::string("\xff\xff\xff\x00\x00\x00\x00\x00\x01", 9))}};
}

std::vector<BadClient> BadCalls() {
  const auto call = [](const std::string& data) {
    return Preface() + Settings() + Frame(kHeadersFrame, kEndHeaders, 1, CallHeaders("GetModel")) +
           Frame(kDataFrame, kEndStream, 1, data);
  };
  return {{"no message", call("")},
          {"a message cut short", call(std::string("\0\0\0\0\x09"
                                                   "abc",
                                                   8))},
          {"a message of 4 GiB", call(std::string("\0\xff\xff\xff\xff"
                                                  "abc",
                                                  8))},
          {"a compressed message without compression", call(std::string("\1\0\0\0\3"
                                                                        "abc",
                                                                        8))},
          {"a flag of 255", call(std::string("\xff\0\0\0\0", 5))},
          {"two messages", call(GrpcMessage("") + GrpcMessage(""))},
          {"a message that is no protobuf", call(GrpcMessage("\xff\xff\xff\xff\xff\xff\xff"))},
          {"an unknown method", Preface() + Settings() + WholeCall(1, "NoSuchMethod", "")},
          {"a path of 60 KiB", Preface() + Settings() + WholeCall(1, std::string(100, '/'), "")}};
}

class MalformedHttp2 : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = ServerProcess::Start(TinyLlava());
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
  }

  // Sends the bytes and hangs up, having waited a moment for the answer.
  void Send(const std::string& bytes, milliseconds wait) {
    RawConnection connection(server_->target());
    ASSERT_TRUE(connection.ok());
    connection.Send(bytes, milliseconds(500));  // the server may hang up first
    while (connection.Next(wait).has_value()) {
    }
  }

  std::unique_ptr<ServerProcess> server_;
};

TEST_F(MalformedHttp2, AnOrdinaryCallWorksAfterEachKind) {
  std::vector<BadClient> clients = ClientsOfAnotherProtocol();
  for (const auto& more : {BadFrames(), BadCalls()}) {
    clients.insert(clients.end(), more.begin(), more.end());
  }
  milliseconds slowest{};
  for (const BadClient& client : clients) {
    SCOPED_TRACE(client.name);
    Send(client.bytes, milliseconds(30));
    ASSERT_TRUE(server_->process().IsRunning()) << server_->Log();
    slowest = std::max(slowest, TimeToServe(*server_));
  }
  std::printf("%zu kinds of bad clients; an ordinary call took at most %lld ms\n", clients.size(),
              static_cast<long long>(slowest.count()));
  EXPECT_LE(slowest, milliseconds(2000));
}

TEST_F(MalformedHttp2, MutatedFramesLeaveNothing) {
  std::mt19937 random(CampaignSeed());
  const int count = FullCampaign() ? 10'000 : 1'500;
  const std::string whole =
      Preface() + Settings(4, 65535) + Frame(kWindowUpdateFrame, 0, 0, Big32(1 << 20)) +
      WholeCall(1, "GetModel", "") + Frame(kPingFrame, 0, 0, "abcdefgh") +
      WholeCall(3, "Tokenize", "\x0a\x05hello") + Frame(kRstStreamFrame, 0, 3, Big32(8));
  const pid_t pid = server_->process().pid();
  int64_t before = 0;
  for (int i = 0; i < count; ++i) {
    // The first ones also fill caches.
    if (i == count / 5) before = ProcessMemory(pid, "VmRSS");
    std::string rest = MutateBytes(whole.substr(Preface().size()), whole.size(), random);
    Send(Preface() + rest, milliseconds(1));
    ASSERT_TRUE(server_->process().IsRunning()) << server_->Log();
    if (i % 100 == 0) {
      EXPECT_LE(TimeToServe(*server_), milliseconds(2000)) << i;
    }
  }
  const int64_t after = ProcessMemory(pid, "VmRSS");
  std::printf("%d mutants: resident %.1f -> %.1f MiB\n", count,
              static_cast<double>(before) / (1 << 20), static_cast<double>(after) / (1 << 20));
  EXPECT_LE(after - before, kMemoryLimit);
}

}  // namespace
}  // namespace concertina::testing
