// A runner on a LibTorch device against the one on the CPU's kernels: the same tokens fed to both.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "models/kernels/parallel.h"
#include "models/tensor/device_runner.h"
#include "server/engine/host_runner.h"
#include "tests/support/golden_file.h"
#include "tests/support/tiny_llama.h"

namespace concertina {
namespace {

using concertina::testing::MaxAbsDifference;
using concertina::testing::MemorySource;
using concertina::testing::TinyAdapter;
using concertina::testing::TinyLlama;
using concertina::testing::TinyLlamaConfig;

constexpr double kTolerance = 1e-4;
constexpr int32_t kRows = 4;

LanguageConfig Config() {
  LanguageConfig config = TinyLlamaConfig();
  config.layers = 3;
  config.max_positions = 400;
  return config;
}

std::vector<int32_t> Ids(int32_t count, int32_t from) {
  return testing::SomeIds(Config(), count, from);
}

// A runner with conversations of some kinds.
class Side {
 public:
  Side(std::unique_ptr<PagePool> pool, std::unique_ptr<ModelRunner> runner)
      : pool_(std::move(pool)), runner_(std::move(runner)) {}

  void Open(const CacheSpec& spec) {
    auto cache = runner_->MakeCache(spec);
    ASSERT_TRUE(cache.ok()) << cache.status();
    caches_.push_back(*std::move(cache));
  }

  // The last token's logits, or with `all` those of every token.
  std::vector<float> Prompt(size_t at, const std::vector<int32_t>& ids,
                            PromptPass::Options options = {}) {
    std::vector<float> x(ids.size() * Config().hidden);
    EXPECT_TRUE(runner_->Embed(ids, x.data()).ok());
    const auto pass = runner_->MakePass(*caches_[at], std::move(x), options);
    EXPECT_TRUE(pass->Begin().ok());
    while (!pass->finished()) EXPECT_TRUE(pass->Step(16).ok());
    folds_ = pass->folds();
    const auto rows = static_cast<int64_t>(options.all_rows ? ids.size() : 1);
    const auto logits =
        runner_->Logits(options.all_rows ? pass->hidden() : pass->last_hidden(), rows);
    EXPECT_TRUE(logits.ok());
    return {*logits, *logits + rows * Config().vocab};
  }

  // Logits of conversations `which`, which are fed a token each.
  std::vector<std::vector<float>> Decode(const std::vector<size_t>& which, int32_t token,
                                         bool adapter) {
    std::vector<DecodeRow> rows;
    for (const size_t at : which) {
      caches_[at]->BeginDecode();
      rows.push_back({.cache = caches_[at].get(),
                      .token = (token + static_cast<int32_t>(at)) % Config().vocab,
                      .adapter = adapter && at % 2 == 0,
                      .wants_logits = true,
                      .status = absl::OkStatus()});
    }
    runner_->Decode(rows);
    std::vector<std::vector<float>> logits;
    for (const DecodeRow& row : rows) {
      EXPECT_TRUE(row.status.ok()) << row.status;
      logits.emplace_back(row.logits, row.logits + Config().vocab);
      evicted_ += row.evicted;
    }
    return logits;
  }

  ModelRunner& runner() { return *runner_; }
  PagePool& pool() { return *pool_; }
  ConversationCache& cache(size_t at) { return *caches_[at]; }
  void Close(size_t at) { caches_[at].reset(); }
  const std::vector<FoldReport>& folds() const { return folds_; }
  int64_t evicted() const { return evicted_; }

 private:
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<ModelRunner> runner_;
  std::vector<std::unique_ptr<ConversationCache>> caches_;
  std::vector<FoldReport> folds_;
  int64_t evicted_ = 0;
};

class RunnersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SetThreads(1);  // the operations are too small for more
    const LanguageSource source{.weights = std::make_shared<MemorySource>(TinyLlama(Config())),
                                .adapter = &adapter_};
    auto language = LanguageModel::Load(Config(), source, MatrixType::kF32);
    ASSERT_TRUE(language.ok()) << language.status();
    language_ = *std::move(language);
    auto model = DeviceModel::Load(Config(), source, "torch:cpu", TensorType::kF32);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    const CacheShape shape{Config().layers, Config().kv_heads, Config().head_dim};
    auto pages = PagePool::Create(kPoolBytes, PageBytesFor(shape));
    auto ledger = PagePool::CreateLedger(kPoolBytes, model_->page_bytes());
    ASSERT_TRUE(pages.ok() && ledger.ok());
    auto runner = MakeDeviceRunner(*model_, kRows, ledger->get());
    ASSERT_TRUE(runner.ok()) << runner.status();
    auto host_runner = std::make_unique<HostRunner>(*language_, pages->get());
    host_ = std::make_unique<Side>(*std::move(pages), std::move(host_runner));
    device_ = std::make_unique<Side>(*std::move(ledger), *std::move(runner));
  }

  // Both, and what they say must be the same.
  void Open(const std::string& policy, const Budget& budget, const PolicyOptions& options = {}) {
    for (Side* side : {host_.get(), device_.get()}) {
      side->Open({.policy = policy,
                  .policy_options = options,
                  .entry_type = EntryType::kF32,
                  .budget = budget,
                  .on_context_end = OnContextEnd::kRefuse});
    }
  }

  void Prompt(size_t at, const std::vector<int32_t>& ids, PromptPass::Options options = {}) {
    SCOPED_TRACE("prompt of " + std::to_string(at));
    const std::vector<float> expected = host_->Prompt(at, ids, options);
    EXPECT_LT(MaxAbsDifference(device_->Prompt(at, ids, options), expected), kTolerance);
    ExpectSameState(at);
    ASSERT_EQ(device_->folds().size(), host_->folds().size());
    for (size_t layer = 0; layer < host_->folds().size(); ++layer) {
      const FoldReport& a = host_->folds()[layer];
      const FoldReport& b = device_->folds()[layer];
      EXPECT_EQ(b.entries_before, a.entries_before);
      EXPECT_EQ(b.entries_after, a.entries_after);
      EXPECT_NEAR(b.mass_kept, a.mass_kept, 1e-3);
    }
  }

  void Decode(const std::vector<size_t>& which, int32_t token, bool adapter = false) {
    SCOPED_TRACE("token " + std::to_string(token));
    const auto expected = host_->Decode(which, token, adapter);
    const auto found = device_->Decode(which, token, adapter);
    for (size_t i = 0; i < which.size(); ++i) {
      EXPECT_LT(MaxAbsDifference(found[i], expected[i]), kTolerance) << "row " << which[i];
      ExpectSameState(which[i]);
    }
    EXPECT_EQ(device_->evicted(), host_->evicted());
  }

  // The first so many end their turns.
  void Rest(size_t count) {
    for (size_t at = 0; at < count; ++at) {
      host_->cache(at).EndDecode();
      device_->cache(at).EndDecode();
    }
  }

  void ExpectSameState(size_t at) {
    const ConversationCache& a = host_->cache(at);
    const ConversationCache& b = device_->cache(at);
    EXPECT_EQ(b.seen(), a.seen());
    EXPECT_EQ(b.live_entries(), a.live_entries());
    EXPECT_EQ(b.effective_budget().entries_total, a.effective_budget().entries_total);
    EXPECT_EQ(b.payload_bytes(), a.payload_bytes());
  }

  static constexpr int64_t kPoolBytes = int64_t{4} << 20;
  const MemorySource adapter_ = TinyAdapter(Config());
  std::unique_ptr<LanguageModel> language_;
  std::unique_ptr<DeviceModel> model_;
  std::unique_ptr<Side> host_, device_;
};

// More conversations than seats, each of its own kind, in changing company.
TEST_F(RunnersTest, AgreeOnConversationsOfManyKinds) {
  Open("concertina", Budget::Ratio(0.2));
  Open("full", Budget::Ratio(1.0));
  Open("elastic", Budget::Tokens(20), {.merge = MergeMode::kMass, .pure_sink = true});
  Open("concertina", Budget::Tokens(1));
  Open("elastic", Budget::Ratio(0.5));
  Open("full", Budget::Tokens(3));
  for (size_t at = 0; at < 6; ++at) {
    Prompt(at, Ids(20 + 9 * static_cast<int32_t>(at), static_cast<int32_t>(at)));
  }
  for (int32_t token = 0; token < 12; ++token) Decode({0, 1, 2, 3}, token);
  Rest(6);
  for (int32_t token = 0; token < 12; ++token) Decode({5, 4}, 3 * token);
  // One goes on with a turn while another stays in its seat.
  Prompt(5, Ids(30, 7));
  Decode({4, 5}, 2);
  Rest(6);
  for (int32_t token = 0; token < 20; ++token) Decode({3, 1, 5, 2}, 5 * token);
  Rest(6);
  for (size_t at = 0; at < 6; ++at) Prompt(at, Ids(11, 3));
  Decode({4, 2, 0}, 1);
}

TEST_F(RunnersTest, AgreeOnTheAdapterOfSomeRows) {
  for (int i = 0; i < 3; ++i) Open("concertina", Budget::Ratio(0.4));
  for (size_t at = 0; at < 3; ++at) Prompt(at, Ids(25, 2), {.adapter = at != 1});
  const std::vector<float> with = device_->Prompt(0, Ids(5, 1), {.adapter = true, .fold = false});
  const std::vector<float> without = device_->Prompt(0, Ids(5, 1), {.fold = false});
  EXPECT_GT(MaxAbsDifference(with, without), 100 * kTolerance) << "it does act";
  for (int32_t token = 0; token < 10; ++token) Decode({0, 1, 2}, token, /*adapter=*/true);
}

TEST_F(RunnersTest, AgreeOnAPassThatLeavesTheCacheAsItIs) {
  Open("concertina", Budget::Ratio(0.3));
  Prompt(0, Ids(60, 1));
  for (int i = 0; i < 2; ++i) Prompt(0, Ids(17, 4), {.fold = false, .all_rows = true});
  Decode({0}, 5);
}

TEST_F(RunnersTest, ABudgetThatShrinksIsMetAtOnce) {
  Open("concertina", Budget::Ratio(1.0));
  Open("elastic", Budget::Tokens(60));
  for (size_t at = 0; at < 2; ++at) Prompt(at, Ids(50, 1));
  Decode({0, 1}, 1);
  for (Side* side : {host_.get(), device_.get()}) {
    for (size_t at = 0; at < 2; ++at) {
      ASSERT_TRUE(side->cache(at).SetBudget(Budget::Tokens(7)).ok());
    }
  }
  for (int32_t token = 0; token < 4; ++token) Decode({0, 1}, token);
  EXPECT_EQ(device_->cache(0).SetBudget(Budget::Bytes(4096)).code(),
            absl::StatusCode::kUnimplemented);
  EXPECT_EQ(device_->cache(0).SetBudget(Budget::Ratio(0)).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(RunnersTest, TheLedgerCountsThePagesOfTheDevice) {
  Open("concertina", Budget::Ratio(0.5));
  Open("full", Budget::Ratio(1.0));
  PagePool& pool = device_->pool();
  for (size_t at = 0; at < 2; ++at) {
    const int64_t bound = device_->cache(at).UsedBytesBound(120);
    ASSERT_TRUE(device_->cache(at).Reserve(bound).ok());
    EXPECT_EQ(device_->cache(at).reserved_bytes(), bound / pool.page_bytes() * pool.page_bytes());
  }
  for (int turn = 0; turn < 2; ++turn) {
    for (size_t at = 0; at < 2; ++at) Prompt(at, Ids(40, turn));
    for (int32_t token = 0; token < 20; ++token) {
      Decode({0, 1}, token);
      EXPECT_EQ(pool.used_bytes(), device_->cache(0).used_bytes() + device_->cache(1).used_bytes());
      for (size_t at = 0; at < 2; ++at) {
        EXPECT_LE(device_->cache(at).used_bytes(), device_->cache(at).reserved_bytes());
      }
    }
    Rest(2);
  }
  EXPECT_EQ(device_->cache(1).used_bytes(), device_->cache(1).FullBytes(120));
  device_->cache(0).Clear();
  EXPECT_EQ(device_->cache(0).used_bytes(), 0);
  device_->Close(0);
  device_->Close(1);
  EXPECT_EQ(pool.used_bytes(), 0);
  EXPECT_EQ(pool.reserved_bytes(), 0);
}

// A row that lacks pages ends alone, as it was.
TEST_F(RunnersTest, ARowThatLacksPagesIsNotInTheStep) {
  Open("concertina", Budget::Ratio(0.5));
  Open("full", Budget::Ratio(1.0));
  for (size_t at = 0; at < 2; ++at) Prompt(at, Ids(32, 1));
  ConversationCache& full = device_->cache(1);
  const int64_t entries = full.live_entries();
  ASSERT_TRUE(full.Reserve(full.used_bytes()).ok());  // and 32 entries fill their pages
  std::vector<DecodeRow> rows;
  for (size_t at = 0; at < 2; ++at) {
    rows.push_back({.cache = &device_->cache(at), .token = 3, .wants_logits = true});
  }
  device_->runner().Decode(rows);
  EXPECT_TRUE(rows[0].status.ok()) << rows[0].status;
  EXPECT_EQ(rows[1].status.code(), absl::StatusCode::kResourceExhausted) << rows[1].status;
  EXPECT_TRUE(full.intact());
  EXPECT_EQ(full.live_entries(), entries);
  const auto expected = host_->Decode({0}, 3, false);
  EXPECT_LT(MaxAbsDifference(std::vector<float>(rows[0].logits, rows[0].logits + Config().vocab),
                             expected[0]),
            kTolerance);
  ASSERT_TRUE(full.Reserve(0).ok());
  const auto later = host_->Decode({1, 0}, 8, false);
  const auto found = device_->Decode({1, 0}, 8, false);
  for (size_t i = 0; i < 2; ++i) EXPECT_LT(MaxAbsDifference(found[i], later[i]), kTolerance);
}

TEST_F(RunnersTest, TheDeviceSaysWhatItCannotDo) {
  Open("concertina", Budget::Ratio(0.5));
  Prompt(0, Ids(20, 1));
  const RunnerTraits traits = device_->runner().traits();
  EXPECT_EQ(traits.only_entry_type, EntryType::kF32);
  EXPECT_FALSE(traits.byte_budgets || traits.rebases || traits.forks || traits.probes);
  ConversationCache& cache = device_->cache(0);
  EXPECT_EQ(cache.ForkConversation().status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(device_->runner().MakeProbe(cache, {}, 0, false).status().code(),
            absl::StatusCode::kUnimplemented);
  EXPECT_TRUE(cache.FitsContext(380, 400));
  EXPECT_FALSE(cache.FitsContext(381, 400));
  EXPECT_TRUE(cache.RebaseFor(380, 400, {}).ok());
  EXPECT_EQ(cache.RebaseFor(381, 400, {}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(device_->runner().MakeCache({.policy = "none"}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(device_->runner().device_bytes(), 0) << "it is the host's memory";
}

TEST(DeviceModelTest, DevicesAreCheckedByName) {
  for (const char* name : {"torch:cpu", "cuda", "cuda:0", "cuda:12"}) {
    EXPECT_TRUE(IsDeviceName(name)) << name;
  }
  for (const char* name : {"", "cpu", "torch", "cuda:", "cuda:-1", "cuda:x", "cuda:1x", "CUDA"}) {
    EXPECT_FALSE(IsDeviceName(name)) << name;
    EXPECT_EQ(CheckDevice(name).code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_TRUE(CheckDevice("torch:cpu").ok());
  EXPECT_EQ(CheckDevice("cuda:999").code(), absl::StatusCode::kFailedPrecondition);
}

TEST(DeviceModelTest, AnIncompleteAdapterIsNamed) {
  MemorySource adapter = TinyAdapter(Config());
  const std::string name = "language_model.model.layers.1.self_attn.k_proj.lora_B.weight";
  adapter.Erase(name);
  const LanguageSource source{.weights = std::make_shared<MemorySource>(TinyLlama(Config())),
                              .adapter = &adapter};
  const auto model = DeviceModel::Load(Config(), source, "torch:cpu", TensorType::kF32);
  EXPECT_EQ(model.status().code(), absl::StatusCode::kNotFound) << model.status();
  EXPECT_NE(std::string(model.status().message()).find(name), std::string::npos);
}

}  // namespace
}  // namespace concertina
