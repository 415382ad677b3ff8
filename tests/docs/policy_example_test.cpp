// The policy of docs/adding-a-policy.md is registered, so that the matrix test beside this file
// holds it to the contract, and keeps what the page says.

#include <gtest/gtest.h>

#include <algorithm>

#include "session_driver.h"

namespace concertina {
namespace {

using testing::Contents;
using testing::ElementWriter;

TEST(PolicyExampleTest, IsRegistered) {
  const auto names = PolicyNames();
  EXPECT_NE(std::find(names.begin(), names.end(), "local"), names.end());
  EXPECT_EQ(testing::PolicyOf("local")->name(), "local");
}

TEST(PolicyExampleTest, KeepsTheFirstAndTheNewest) {
  const CacheShape shape{.layers = 2, .kv_heads = 2, .head_dim = 8};
  const auto pool = testing::MakePool(1000, shape);
  SessionCache cache(pool.get(), shape, EntryType::kF32, testing::PolicyOf("local"),
                     Budget::Tokens(4), OnContextEnd::kRebase);
  ASSERT_TRUE(testing::Prefill(cache, 20, ElementWriter(1)).ok());
  EXPECT_EQ(Contents(cache, 1, 1).births, (std::vector<uint32_t>{0, 17, 18, 19}));
  cache.BeginDecode();
  ASSERT_TRUE(testing::DecodeToken(cache, 1).ok());
  EXPECT_EQ(Contents(cache, 0, 1).births, (std::vector<uint32_t>{0, 18, 19, 20}));
  cache.EndDecode();
}

}  // namespace
}  // namespace concertina
