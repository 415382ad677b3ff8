// What parsing would cost is known, and bounded, before it is done.

#include "server/rpc/parse/wire_scan.h"

#include <gtest/gtest.h>

#include <random>

#include "concertina/v1/inference_service.pb.h"
#include "server/engine/errors.h"
#include "server/rpc/call_counter.h"
#include "server/rpc/calls/call.h"

namespace concertina {
namespace {

constexpr WireLimits kLimits{.items = 1000, .depth = 4};

// In slices of `slice_bytes`, as messages come from the network.
grpc::ByteBuffer Buffer(const std::string& bytes, size_t slice_bytes = 7) {
  std::vector<grpc::Slice> slices;
  for (size_t at = 0; at < bytes.size(); at += slice_bytes) {
    slices.emplace_back(bytes.substr(at, slice_bytes));
  }
  if (slices.empty()) slices.emplace_back(std::string());
  return {slices.data(), slices.size()};
}

absl::Status Parse(const std::string& bytes, google::protobuf::Message* message,
                   const WireLimits& limits = kLimits) {
  return ParseMessage(Buffer(bytes), limits, message);
}

void ExpectRefused(const absl::Status& status, const std::string& text) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(status), "request");
  EXPECT_NE(status.message().find(text), absl::string_view::npos) << status;
}

v1::OpenSessionRequest History(int messages) {
  v1::OpenSessionRequest request;
  for (int i = 0; i < messages; ++i) {
    v1::Message* message = request.add_history();
    message->set_role(v1::ROLE_USER);
    message->add_parts()->mutable_image()->set_data(std::string(300, 'x'));
  }
  request.mutable_budget()->set_ratio(0.5);
  return request;
}

TEST(WireScan, PassesWhatProtobufWrites) {
  const v1::OpenSessionRequest sent = History(100);
  v1::OpenSessionRequest received;
  ASSERT_TRUE(Parse(sent.SerializeAsString(), &received).ok());
  EXPECT_EQ(received.SerializeAsString(), sent.SerializeAsString());
  v1::GetSessionRequest empty;
  EXPECT_TRUE(Parse("", &empty).ok());
}

TEST(WireScan, BoundsTheNumberOfFields) {
  v1::OpenSessionRequest received;
  // Five per message: history, role, parts, image, data; two for the budget.
  EXPECT_TRUE(Parse(History(199).SerializeAsString(), &received).ok());
  ExpectRefused(Parse(History(200).SerializeAsString(), &received), "more than 1000 fields");
  std::string empties;
  for (int i = 0; i < 1001; ++i) empties.append("\x2a\x00", 2);  // history {}
  ExpectRefused(Parse(empties, &received), "more than 1000 fields");
  std::string unknown;
  for (int i = 0; i < 1001; ++i) unknown.append("\x78\x01");  // field 15, a number
  ExpectRefused(Parse(unknown, &received), "more than 1000 fields");
}

TEST(WireScan, CountsPackedValues) {
  v1::ScoreRequest request;
  for (int i = 0; i < 990; ++i) request.mutable_prompt()->mutable_ids()->add_ids(1);
  v1::ScoreRequest received;
  EXPECT_TRUE(Parse(request.SerializeAsString(), &received).ok());
  for (int i = 0; i < 20; ++i) request.mutable_prompt()->mutable_ids()->add_ids(1);
  ExpectRefused(Parse(request.SerializeAsString(), &received), "more than 1000 fields");
}

TEST(WireScan, BoundsTheDepth) {
  v1::OpenSessionRequest received;
  EXPECT_TRUE(Parse(History(1).SerializeAsString(), &received, {1000, 4}).ok());
  ExpectRefused(Parse(History(1).SerializeAsString(), &received, {1000, 3}), "deeper than 3");
}

TEST(WireScan, RefusesGroupsOfAnyDepth) {
  v1::OpenSessionRequest received;
  ExpectRefused(Parse("\x7b\x7c", &received), "not a well-formed");  // field 15, begin and end
  ExpectRefused(Parse(std::string(1000, '\x7b') + std::string(1000, '\x7c'), &received),
                "not a well-formed");
}

TEST(WireScan, RefusesBrokenText) {
  v1::TokenizeRequest received;
  ExpectRefused(Parse("\x0a\x02\xff\xfe", &received), "not a well-formed");  // text: not UTF-8
}

TEST(WireScan, RefusesEveryTruncation) {
  const std::string bytes = History(2).SerializeAsString();
  int accepted = 0;
  for (size_t size = 0; size < bytes.size(); ++size) {
    v1::OpenSessionRequest received;
    const absl::Status status = Parse(bytes.substr(0, size), &received);
    if (status.ok()) {
      ++accepted;
    } else {
      ExpectRefused(status, "not a well-formed");
    }
  }
  // A message may end after any of its fields: history twice, then budget.
  EXPECT_EQ(accepted, 3);
}

// Whatever the scan lets pass, and protobuf parses, is what protobuf alone would have parsed.
TEST(WireScan, AgreesWithProtobufAboutMutations) {
  const unsigned seed = 20'261'121;
  std::mt19937 random(seed);
  const std::string good = History(3).SerializeAsString();
  int parsed = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = good;
    for (int flips = 0; flips < 3; ++flips) {
      bytes[random() % bytes.size()] = static_cast<char>(random() & 0xff);
    }
    v1::OpenSessionRequest ours;
    v1::OpenSessionRequest theirs;
    if (!Parse(bytes, &ours).ok()) continue;
    ASSERT_TRUE(theirs.ParseFromString(bytes));
    ASSERT_EQ(ours.SerializeAsString(), theirs.SerializeAsString()) << "seed " << seed;
    ++parsed;
  }
  EXPECT_GT(parsed, 1000);
}

TEST(CallCounter, CountsByConnection) {
  CallCounter calls;
  EXPECT_EQ(calls.Enter("a").on_connection, 0);
  EXPECT_EQ(calls.Enter("a").on_connection, 1);
  const CallCounter::Counts other = calls.Enter("b");
  EXPECT_EQ(other.all, 2);
  EXPECT_EQ(other.on_connection, 0);
  calls.Leave("a");
  EXPECT_EQ(calls.Enter("a").on_connection, 1);
  for (const char* peer : {"a", "a", "b"}) calls.Leave(peer);
  EXPECT_EQ(calls.in_flight(), 0);
}

TEST(CheckDeadline, RefusesWhatNobodyWaitsFor) {
  const auto now = std::chrono::system_clock::now();
  EXPECT_TRUE(CheckDeadline(now + std::chrono::milliseconds(1), now).ok());
  EXPECT_TRUE(CheckDeadline(std::chrono::system_clock::time_point::max(), now).ok());
  EXPECT_EQ(CheckDeadline(now, now).code(), absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace concertina
