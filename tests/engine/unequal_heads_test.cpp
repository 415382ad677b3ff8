// Heads of a layer that keep different numbers of entries: a prompt and a decode step, which read
// such a cache in quite different ways, must see the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "cache/session_cache.h"
#include "models/kernels/parallel.h"
#include "server/engine/host_runner.h"
#include "tests/support/golden_file.h"
#include "tests/support/tiny_llama.h"

namespace concertina {
namespace {

using concertina::testing::MaxAbsDifference;
using concertina::testing::MemorySource;
using concertina::testing::TinyLlama;
using concertina::testing::TinyLlamaConfig;

LanguageConfig Config() {
  LanguageConfig config = TinyLlamaConfig();
  config.layers = 3;
  config.max_positions = 400;
  return config;
}

std::vector<int32_t> Ids(int32_t count, int32_t from) {
  return testing::SomeIds(Config(), count, from);
}

class UnequalHeadsTest : public ::testing::TestWithParam<EntryType> {
 protected:
  void SetUp() override {
    SetThreads(1);
    const LanguageSource source{.weights = std::make_shared<MemorySource>(TinyLlama(Config()))};
    auto language = LanguageModel::Load(Config(), source, MatrixType::kF32);
    ASSERT_TRUE(language.ok()) << language.status();
    language_ = *std::move(language);
    const CacheShape shape{Config().layers, Config().kv_heads, Config().head_dim};
    auto pool = PagePool::Create(int64_t{4} << 20, PageBytesFor(shape));
    ASSERT_TRUE(pool.ok()) << pool.status();
    pool_ = *std::move(pool);
    runner_ = std::make_unique<HostRunner>(*language_, pool_.get());
  }

  void TearDown() override {
    cache_.reset();
    EXPECT_EQ(pool_->used_bytes(), 0);
  }

  void Open(const Budget& budget) {
    auto cache = runner_->MakeCache({.policy = "concertina",
                                     .policy_options = {.adaptive_heads = true},
                                     .entry_type = GetParam(),
                                     .budget = budget,
                                     .on_context_end = OnContextEnd::kRebase});
    ASSERT_TRUE(cache.ok()) << cache.status();
    cache_ = *std::move(cache);
  }

  const SessionCache& held() const { return dynamic_cast<const SessionCache&>(*cache_); }

  // The last token's logits.
  std::vector<float> Prompt(const std::vector<int32_t>& ids, bool fold) {
    std::vector<float> x(ids.size() * Config().hidden);
    EXPECT_TRUE(runner_->Embed(ids, x.data()).ok());
    const auto pass = runner_->MakePass(*cache_, std::move(x), {.fold = fold});
    EXPECT_TRUE(pass->Begin().ok());
    while (!pass->finished()) EXPECT_TRUE(pass->Step(16).ok());
    const auto logits = runner_->Logits(pass->last_hidden(), 1);
    EXPECT_TRUE(logits.ok());
    return {*logits, *logits + Config().vocab};
  }

  std::vector<float> Decode(int32_t token) {
    cache_->BeginDecode();
    std::vector<DecodeRow> rows = {
        {.cache = cache_.get(), .token = token, .wants_logits = true, .status = absl::OkStatus()}};
    runner_->Decode(rows);
    EXPECT_TRUE(rows[0].status.ok()) << rows[0].status;
    return {rows[0].logits, rows[0].logits + Config().vocab};
  }

  // Entries of the longest head less those of the shortest, of the layer where that is most.
  int32_t LargestDifference() const {
    int32_t largest = 0;
    for (int layer = 0; layer < Config().layers; ++layer) {
      std::vector<int32_t> entries;
      for (int head = 0; head < Config().kv_heads; ++head) {
        entries.push_back(held().EntriesIn(layer, head));
      }
      const auto [least, most] = std::minmax_element(entries.begin(), entries.end());
      largest = std::max(largest, *most - *least);
    }
    return largest;
  }

  int64_t PagesFilled() const {
    int64_t pages = 0;
    for (int layer = 0; layer < Config().layers; ++layer) {
      for (int head = 0; head < Config().kv_heads; ++head) {
        pages += held().layout().PagesFor(held().EntriesIn(layer, head));
      }
    }
    return pages;
  }

  double tolerance() const { return GetParam() == EntryType::kF32 ? 1e-4 : 0.05; }

  std::unique_ptr<LanguageModel> language_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<HostRunner> runner_;
  std::unique_ptr<ConversationCache> cache_;
};

TEST_P(UnequalHeadsTest, APromptSeesWhatADecodeStepSees) {
  Open(Budget::Ratio(0.3));
  for (int32_t turn = 0; turn < 4; ++turn) {
    Prompt(Ids(70 + 7 * turn, turn), /*fold=*/true);
    EXPECT_GT(LargestDifference(), 0) << "else nothing is tested";
    for (int32_t token = 3; token < 8; ++token) {
      cache_->EndDecode();
      const std::vector<float> read = Prompt({token}, /*fold=*/false);
      EXPECT_LT(MaxAbsDifference(Decode(token), read), tolerance()) << "turn " << turn;
    }
    cache_->EndDecode();
  }
}

TEST_P(UnequalHeadsTest, WhatHeadsGiveUpIsGivenBack) {
  const int64_t page = PageBytesFor({Config().layers, Config().kv_heads, Config().head_dim});
  for (const Budget& budget :
       {Budget::Ratio(0.3), Budget::Bytes(page * Config().kv_heads * (Config().layers * 3 + 1))}) {
    const bool bytes = budget.unit == Budget::Unit::kBytes;
    Open(budget);
    for (int32_t turn = 0; turn < 4; ++turn) {
      Prompt(Ids(50, turn), /*fold=*/true);
      // Under a byte budget heads differ by whole pages, or not at all.
      EXPECT_TRUE(bytes || LargestDifference() > 0);
      for (int32_t token = 0; token < 40; ++token) {
        Decode(token);
        ASSERT_EQ(cache_->used_bytes(), PagesFilled() * page);
        ASSERT_TRUE(!bytes || cache_->used_bytes() <= budget.bytes);
        ASSERT_LE(cache_->live_entries(), cache_->effective_budget().entries_total);
      }
      cache_->EndDecode();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EntryTypes, UnequalHeadsTest,
                         ::testing::Values(EntryType::kF32, EntryType::kBf16));

}  // namespace
}  // namespace concertina
