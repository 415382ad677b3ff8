// The policy of docs/adding-a-policy.md is registered, so that the matrix test beside this file
// holds it to the contract, and keeps what the page says.

#include <gtest/gtest.h>

#include <algorithm>

#include "session_driver.h"

namespace concertina {
namespace {

using testing::Contents;

TEST(PolicyExampleTest, IsRegistered) {
  const auto names = PolicyNames();
  EXPECT_NE(std::find(names.begin(), names.end(), "knorm"), names.end());
  EXPECT_EQ(testing::PolicyOf("knorm")->name(), "knorm");
}

TEST(PolicyExampleTest, KeepsTheShortestKeys) {
  const CacheShape shape{.layers = 2, .kv_heads = 2, .head_dim = 8};
  const auto pool = testing::MakePool(1000, shape);
  SessionCache cache(pool.get(), shape, EntryType::kF32, testing::PolicyOf("knorm"),
                     Budget::Tokens(4), OnContextEnd::kRebase);
  // In head 0 the first keys are the longest, in head 1 the newest are.
  const auto write = [](const SessionCache&, int, LayerPrompt* prompt) {
    for (int64_t head = 0; head < 2; ++head) {
      for (int64_t i = 0; i < prompt->entries(); ++i) {
        float* k = prompt->k + (head * prompt->capacity + i) * 8;
        std::fill_n(k, 8, 0.0F);
        k[3] = static_cast<float>(head == 0 ? 20 - i : -5 - i);
      }
    }
  };
  ASSERT_TRUE(testing::Prefill(cache, 20, write).ok());
  EXPECT_EQ(Contents(cache, 1, 0).births, (std::vector<uint32_t>{0, 17, 18, 19}));
  EXPECT_EQ(Contents(cache, 1, 1).births, (std::vector<uint32_t>{0, 1, 2, 19}));
  cache.BeginDecode();
  ASSERT_TRUE(testing::DecodeToken(cache, 1).ok());
  EXPECT_EQ(Contents(cache, 0, 0).births, (std::vector<uint32_t>{0, 18, 19, 20}));
  EXPECT_EQ(Contents(cache, 0, 1).births, (std::vector<uint32_t>{0, 1, 2, 20}));
  cache.EndDecode();
}

}  // namespace
}  // namespace concertina
