// The command line on sessions that stay: copies, undoing, talking in an open one, and operators.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nlohmann/json.hpp"
#include "tests/client/fake_admin.h"
#include "tests/client/fake_service.h"
#include "tests/client/process.h"

namespace concertina {
namespace {

using nlohmann::json;
using testing::FakeTurn;
using ::testing::HasSubstr;
using testing::MakeRefusal;
using testing::MakeTurn;
using ::testing::Not;
using testing::ProcessResult;
using ::testing::SizeIs;

class CliSessionsTest : public ::testing::Test {
 protected:
  ProcessResult Run(const std::vector<std::string>& arguments, const std::string& input = "") {
    return testing::RunCli(server_.target(), arguments, input);
  }

  testing::FakeServer server_;
  testing::FakeService& service_ = server_.service();
};

TEST_F(CliSessionsTest, ShowsWhatBecameOfTheCache) {
  v1::Session session;
  session.set_session_id("e");
  session.set_state(v1::SESSION_STATE_IDLE);
  session.set_evicted(true);
  session.set_transcript_bytes(2048);
  session.mutable_expire_time()->set_seconds(1'700'000'000);
  session.mutable_cache()->set_shared_bytes(3 << 20);
  service_.AddSession(session);
  service_.AddSession("plain");
  const auto shown = Run({"session", "e"});
  EXPECT_THAT(shown.out, HasSubstr("session   e (evicted, turns: 0)"));
  EXPECT_THAT(shown.out, HasSubstr("shared    3.0 MiB with forks"));
  EXPECT_THAT(shown.out, HasSubstr("record    2.0 KiB"));
  EXPECT_THAT(shown.out, HasSubstr("expires   2023-11-14 22:13:20 UTC"));
  const auto plain = Run({"session", "plain"});
  EXPECT_THAT(plain.out, Not(HasSubstr("expires")));
  EXPECT_THAT(plain.out, Not(HasSubstr("shared")));
  EXPECT_THAT(Run({"sessions"}).out, HasSubstr("evicted"));
  const json out = json::parse(Run({"session", "e", "--json"}).out);
  EXPECT_EQ(out["evicted"], true);
  EXPECT_EQ(out["transcript_bytes"], 2048);
  EXPECT_EQ(out["expire_time"], 1.7e9);
  EXPECT_EQ(out["cache"]["shared_bytes"], 3 << 20);
  EXPECT_FALSE(json::parse(Run({"session", "plain", "--json"}).out).contains("expire_time"));
}

TEST_F(CliSessionsTest, ForkPrintsTheIdOfAnOpenCopy) {
  service_.AddSession("a");
  const auto result = Run({"fork", "a"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const auto forked = service_.forked();
  ASSERT_EQ(forked.size(), 1u);
  EXPECT_EQ(result.out, forked[0].new_session_id() + "\n");
  EXPECT_THAT(service_.closed(), SizeIs(0));
  const json second = json::parse(Run({"fork", "a", "--json"}).out);
  ASSERT_EQ(service_.forked().size(), 2u);
  EXPECT_EQ(second["session_id"], service_.forked()[1].new_session_id());
  EXPECT_EQ(Run({"fork", "x"}).exit_code, 1);
}

TEST_F(CliSessionsTest, AskTalksInAnOpenSessionAndLeavesItOpen) {
  service_.AddSession("a");
  const auto result = Run({"ask", "--session", "a", "--expected-turn", "3", "go on"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "ok\n");
  const auto request = service_.asked().at(0);
  EXPECT_EQ(request.session_id(), "a");
  EXPECT_TRUE(request.has_expected_turn());
  EXPECT_EQ(request.expected_turn(), 3);
  EXPECT_EQ(service_.opened().size(), 0u);
  EXPECT_THAT(service_.closed(), SizeIs(0));
  const auto kept = Run({"ask", "--keep", "begin"});
  EXPECT_EQ(kept.out, "ok\nsession " + service_.opened().at(0).session_id() + "\n");
  EXPECT_THAT(service_.closed(), SizeIs(0));
  EXPECT_FALSE(service_.asked().at(1).has_expected_turn());
  EXPECT_EQ(Run({"ask", "--session", "a", "--budget", "0.2", "no"}).exit_code, 2);
}

TEST_F(CliSessionsTest, ChatUndoesForksAndReturns) {
  const auto result = Run({"chat"},
                          "/undo\n/back\none\ntwo\n/undo\n/fork\nthree\n/stats\n/back\n"
                          "/stats\nfour\n");
  EXPECT_EQ(result.exit_code, 1);  // the first two lines
  EXPECT_THAT(result.err, HasSubstr("there is no turn to forget"));
  EXPECT_THAT(result.err, HasSubstr("this is not a copy"));
  ASSERT_EQ(service_.updated().size(), 1u);
  EXPECT_EQ(service_.updated()[0].truncate_turn(), 1);
  const auto asked = service_.asked();
  ASSERT_EQ(asked.size(), 4u);
  const std::string copy = service_.forked().at(0).new_session_id();
  EXPECT_EQ(asked[1].session_id(), asked[0].session_id());
  EXPECT_EQ(asked[2].session_id(), copy);
  EXPECT_EQ(asked[3].session_id(), asked[0].session_id());
  EXPECT_THAT(result.out, HasSubstr(copy + " (idle, turns: 2)"));
  EXPECT_THAT(result.out, HasSubstr(asked[0].session_id() + " (idle, turns: 1)"));
  EXPECT_THAT(service_.closed(), ::testing::ElementsAre(copy, asked[0].session_id()));
}

TEST_F(CliSessionsTest, ChatInAnOpenSessionClosesOnlyItsCopies) {
  service_.AddSession("a");
  const auto result = Run({"chat", "--session", "a"}, "one\n/fork\ntwo\n");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(service_.asked().at(0).session_id(), "a");
  EXPECT_THAT(service_.closed(), ::testing::ElementsAre(service_.forked().at(0).new_session_id()));
}

TEST_F(CliSessionsTest, TimeoutAndRetriesGoForEveryCall) {
  FakeTurn held = MakeTurn({"some "});
  held.events.pop_back();
  held.hold = true;
  service_.AddTurn(held);
  const auto late = Run({"ask", "--timeout", "0.3", "a"});
  EXPECT_EQ(late.exit_code, 1);
  EXPECT_THAT(late.err, HasSubstr("DEADLINE_EXCEEDED"));
  service_.AddTurn(MakeRefusal("QUEUE_FULL", 20));
  EXPECT_THAT(Run({"ask", "a"}).err, HasSubstr("[QUEUE_FULL] [try again in 20 ms]"));
  service_.AddTurn(MakeRefusal("QUEUE_FULL", 20));
  EXPECT_EQ(Run({"ask", "--retries", "1", "a"}).out, "ok\n");
  EXPECT_EQ(Run({"ask", "--retries", "5", "a"}).exit_code, 2);
  EXPECT_EQ(Run({"ask", "--timeout", "0", "a"}).exit_code, 2);
}

TEST(CliAdminTest, ReadsLoadDrainsAndEvicts) {
  testing::FakeAdmin admin;
  const auto run = [&admin](const std::vector<std::string>& arguments) {
    std::vector<std::string> all{"admin", "--target", admin.target()};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return testing::RunCli("127.0.0.1:1", all);
  };
  const auto load = run({"load"});
  EXPECT_EQ(load.exit_code, 0) << load.err;
  EXPECT_THAT(load.out, HasSubstr("turns     3 running of 64"));
  EXPECT_THAT(load.out, HasSubstr("sessions  1,234 open"));
  EXPECT_THAT(load.out, Not(HasSubstr("draining")));
  EXPECT_EQ(run({"drain", "--wait", "2.25"}).out, "draining; turns in flight: 2\n");
  EXPECT_EQ(admin.drained().at(0).timeout().nanos(), 250'000'000);
  EXPECT_THAT(run({"load"}).out, HasSubstr("; draining"));
  EXPECT_EQ(json::parse(run({"load", "--json"}).out)["pool_capacity_bytes"], 1 << 30);
  EXPECT_EQ(run({"evict", "here"}).out, "here evicted, 4.0 KiB freed\n");
  EXPECT_THAT(run({"evict", "away"}).err, HasSubstr("SESSION_NOT_FOUND"));
  EXPECT_EQ(run({}).exit_code, 2);
}

}  // namespace
}  // namespace concertina
