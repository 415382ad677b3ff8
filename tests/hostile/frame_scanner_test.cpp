#include "server/rpc/guard/frame_scanner.h"

#include <gtest/gtest.h>

#include "tests/hostile/http2_client.h"

namespace concertina::testing {
namespace {

constexpr int kPlenty = 1000;

std::span<const uint8_t> Bytes(const std::string& text, size_t from = 0) {
  return {reinterpret_cast<const uint8_t*>(text.data()) + from, text.size() - from};
}

// Six frames, of which the reset, the settings and the ping are costly.
std::string Talk() {
  return Preface() + Settings() + Frame(kSettingsFrame, 1, 0) + WholeCall(1, "GetModel", "") +
         Frame(kRstStreamFrame, 0, 1, Big32(8)) + Frame(kPingFrame, 0, 0, "12345678");
}

TEST(FrameScanner, CountsWhatIsCostly) {
  FrameScanner scanner;
  const std::string talk = Talk();
  const auto result = scanner.Scan(Bytes(talk), kPlenty);
  EXPECT_EQ(result.passed, talk.size());
  EXPECT_EQ(result.costly, 3);
  EXPECT_FALSE(result.blocked || result.not_http2);
  EXPECT_TRUE(scanner.greeted());
}

TEST(FrameScanner, PiecesOfAnySizeGiveTheSame) {
  const std::string talk = Talk();
  for (size_t piece = 1; piece < talk.size(); ++piece) {
    FrameScanner scanner;
    int costly = 0;
    for (size_t at = 0; at < talk.size(); at += piece) {
      const std::string part = talk.substr(at, piece);
      const auto result = scanner.Scan(Bytes(part), kPlenty);
      EXPECT_EQ(result.passed, part.size());
      costly += result.costly;
    }
    EXPECT_EQ(costly, 3) << piece;
  }
}

TEST(FrameScanner, HoldsTheFrameBeyondTheAllowanceBack) {
  const std::string talk = Talk();
  FrameScanner scanner;
  const auto first = scanner.Scan(Bytes(talk), 1);  // the settings
  EXPECT_TRUE(first.blocked);
  EXPECT_EQ(first.costly, 1);
  // All but the last byte of the reset's header, and nothing of its payload.
  const size_t reset = talk.size() - 17 - 13;
  EXPECT_EQ(first.passed, reset + 8);
  EXPECT_EQ(scanner.Scan(Bytes(talk, first.passed), 0).passed, 0u);
  const auto rest = scanner.Scan(Bytes(talk, first.passed), kPlenty);
  EXPECT_EQ(rest.costly, 2);
  EXPECT_EQ(first.passed + rest.passed, talk.size());
}

TEST(FrameScanner, KnowsWhatIsNoHttp2) {
  for (const std::string text : {"GET / HTTP/1.1\r\n", "PRI * HTTP/2.1", "\x16\x03\x01"}) {
    FrameScanner scanner;
    EXPECT_TRUE(scanner.Scan(Bytes(text), kPlenty).not_http2) << text;
  }
}

}  // namespace
}  // namespace concertina::testing
