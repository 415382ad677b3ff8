#include "server/rpc/status_mapping.h"

#include <gtest/gtest.h>

#include "server/engine/errors.h"
#include "tests/support/server/in_process_server.h"

namespace concertina {
namespace {

using testing::DetailsOf;

TEST(StatusMappingTest, OkHasNothing) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_FALSE(RetryPushbackOf(absl::OkStatus()).has_value());
}

TEST(StatusMappingTest, FieldBecomesBadRequest) {
  const grpc::Status status = ToGrpcStatus(FieldError("sampling.top_p", "must be in [0, 1]"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(DetailsOf(status).field, "sampling.top_p");
  EXPECT_EQ(DetailsOf(status).reason, "");
}

TEST(StatusMappingTest, ReasonBecomesErrorInfo) {
  const grpc::Status status = ToGrpcStatus(
      ReasonError(absl::StatusCode::kNotFound, reason::kSessionNotFound, "no such session"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "no such session");
  EXPECT_EQ(DetailsOf(status).reason, "SESSION_NOT_FOUND");
  EXPECT_EQ(DetailsOf(status).domain, "concertina");
  EXPECT_EQ(DetailsOf(status).quota_subject, "");
}

TEST(StatusMappingTest, QuotaSaysWhenToComeBack) {
  const absl::Status error = RetryLater(reason::kPoolExhausted, "the pool is full", 1500);
  const grpc::Status status = ToGrpcStatus(error);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(DetailsOf(status).reason, "POOL_EXHAUSTED");
  EXPECT_EQ(DetailsOf(status).quota_subject, "POOL_EXHAUSTED");
  EXPECT_EQ(DetailsOf(status).retry_ms, 1500);
  EXPECT_EQ(RetryPushbackOf(error), "1500");
}

TEST(StatusMappingTest, TextsOfLibrariesStayInside) {
  for (const absl::Status& error :
       {absl::InternalError("assert at /usr/src/x.cpp:12"), absl::UnknownError("0xdeadbeef")}) {
    const grpc::Status status = ToGrpcStatus(error);
    EXPECT_EQ(status.error_message(), "internal error");
    EXPECT_EQ(status.error_details().find("/usr"), std::string::npos);
  }
}

TEST(StatusMappingTest, CodesAreEqual) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status error(static_cast<absl::StatusCode>(code), "text");
    EXPECT_EQ(static_cast<int>(ToGrpcStatus(error).error_code()), code);
  }
}

}  // namespace
}  // namespace concertina
