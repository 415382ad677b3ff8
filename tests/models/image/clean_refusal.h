#pragma once

#include <gtest/gtest.h>

#include <string>

#include "absl/status/status.h"

namespace concertina::testing {

// Refusals name no path, no library and no address.
inline void ExpectCleanRefusal(const absl::Status& status, const std::string& what) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << what;
  const std::string text(status.message());
  EXPECT_TRUE(text.starts_with("image: ")) << what << ": " << text;
  for (const char* forbidden : {"/", "0x", "OpenCV", "cv::", ".cpp", "lib"}) {
    EXPECT_EQ(text.find(forbidden), std::string::npos) << what << ": " << text;
  }
}

}  // namespace concertina::testing
