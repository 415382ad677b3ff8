// The chat in a real terminal: line editing, history, UTF-8 and Ctrl-C.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/fake_service.h"
#include "tests/client/process.h"

namespace concertina {
namespace {

using testing::FakeServer;
using testing::FakeTurn;
using testing::MakeTurn;
using ::testing::SizeIs;
using testing::TerminalProcess;

constexpr char kCtrlC[] = "\x03";
constexpr char kCtrlD[] = "\x04";
constexpr char kUp[] = "\x1b[A";
constexpr char kBackspace[] = "\x7f";

FakeTurn EndlessTurn() {
  FakeTurn turn = MakeTurn({"once ", "upon "});
  turn.events.pop_back();
  turn.hold = true;
  turn.status = grpc::Status(grpc::CANCELLED, "cancelled");
  return turn;
}

class TerminalTest : public ::testing::Test {
 protected:
  FakeServer server_;
  testing::FakeService& service_ = server_.service();
};

TEST_F(TerminalTest, TheFirstCtrlCStopsTheAnswerTheSecondLeaves) {
  service_.AddTurn(EndlessTurn());
  TerminalProcess chat(server_.target(), {"chat"});
  ASSERT_TRUE(chat.WaitForPrompt()) << chat.output();
  chat.Type("tell me a story\n");
  ASSERT_TRUE(chat.WaitFor("once upon ")) << chat.output();
  chat.Type(kCtrlC);
  ASSERT_TRUE(chat.WaitFor("stopped")) << chat.output();
  EXPECT_TRUE(service_.WaitForCancelled(1));
  // The session is the same and still works.
  ASSERT_TRUE(chat.WaitForPrompt()) << chat.output();
  EXPECT_THAT(service_.closed(), SizeIs(0));
  chat.Type("go on\n");
  ASSERT_TRUE(chat.WaitFor("ok")) << chat.output();
  ASSERT_TRUE(chat.WaitForPrompt()) << chat.output();
  const auto asked = service_.asked();
  ASSERT_EQ(asked.size(), 2);
  EXPECT_EQ(asked[0].session_id(), asked[1].session_id());
  chat.Type(kCtrlC);
  EXPECT_EQ(chat.WaitForExit(), 0) << chat.output();
  EXPECT_THAT(service_.closed(), SizeIs(1));
}

TEST_F(TerminalTest, TheSecondCtrlCLeavesBeforeThePromptToo) {
  service_.AddTurn(EndlessTurn());
  TerminalProcess chat(server_.target(), {"chat"});
  ASSERT_TRUE(chat.WaitForPrompt()) << chat.output();
  chat.Type("tell me a story\n");
  ASSERT_TRUE(chat.WaitFor("once upon ")) << chat.output();
  chat.Type(kCtrlC);
  ASSERT_TRUE(chat.WaitFor("stopped")) << chat.output();
  chat.Type(kCtrlC);
  EXPECT_EQ(chat.WaitForExit(), 0) << chat.output();
  EXPECT_THAT(service_.closed(), SizeIs(1));
}

TEST_F(TerminalTest, LinesCanBeEditedAndComeBack) {
  TerminalProcess chat(server_.target(), {"chat"});
  ASSERT_TRUE(chat.WaitForPrompt()) << chat.output();
  chat.Type(std::string("caf\xc3\xa9\xc3\xbc") + kBackspace + "!\n");
  ASSERT_TRUE(chat.WaitFor("ok")) << chat.output();
  ASSERT_TRUE(chat.WaitForPrompt()) << chat.output();
  chat.Type(std::string(kUp) + "?\n");
  ASSERT_TRUE(chat.WaitFor("ok")) << chat.output();
  ASSERT_TRUE(chat.WaitForPrompt()) << chat.output();
  const auto asked = service_.asked();
  ASSERT_EQ(asked.size(), 2);
  EXPECT_EQ(asked[0].parts(0).text(), "caf\xc3\xa9!");
  EXPECT_EQ(asked[1].parts(0).text(), "caf\xc3\xa9!?");
  chat.Type(kCtrlD);
  EXPECT_EQ(chat.WaitForExit(), 0) << chat.output();
}

TEST_F(TerminalTest, CtrlCEndsAskAndItsSession) {
  service_.AddTurn(EndlessTurn());
  TerminalProcess ask(server_.target(), {"ask", "a story"});
  ASSERT_TRUE(ask.WaitFor("once upon ")) << ask.output();
  ask.Type(kCtrlC);
  EXPECT_EQ(ask.WaitForExit(), 130) << ask.output();
  EXPECT_THAT(service_.closed(), SizeIs(1));
}

}  // namespace
}  // namespace concertina
