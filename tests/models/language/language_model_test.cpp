#include "models/language/language_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/full_cache_forward.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/golden_file.h"
#include "tests/support/tiny_llama.h"

namespace concertina {
namespace {

using concertina::testing::EmbedPrompt;
using concertina::testing::FullCacheForward;
using concertina::testing::GgufWriter;
using concertina::testing::MaxAbsDifference;
using concertina::testing::MemorySource;
using concertina::testing::TinyAdapter;
using concertina::testing::TinyLlama;
using concertina::testing::TinyLlamaConfig;

constexpr int64_t kTokens = 23;

std::unique_ptr<LanguageModel> Load(const LanguageConfig& config, const MemorySource& weights,
                                    const MemorySource* adapter = nullptr,
                                    MatrixType type = MatrixType::kF32) {
  const LanguageSource source{.weights = std::make_shared<MemorySource>(weights),
                              .adapter = adapter};
  absl::StatusOr<std::unique_ptr<LanguageModel>> model = LanguageModel::Load(config, source, type);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

std::vector<int32_t> Prompt() {
  std::vector<int32_t> ids(kTokens);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>((i * 7 + 3) % 50);
  return ids;
}

// Logits of the whole prompt.
std::vector<float> LogitsOf(const LanguageModel& model, const float* adapter_scale = nullptr) {
  FullCacheForward forward(model, {.capacity = kTokens});
  std::vector<float> x = EmbedPrompt(model, Prompt(), -1, {});
  forward.Append(kTokens, adapter_scale, x.data());
  return forward.Logits(x.data(), kTokens);
}

TEST(LanguageModel, ARowDoesNotDependOnTheOthers) {
  const LanguageConfig config = TinyLlamaConfig();
  const MemorySource adapter = TinyAdapter(config);
  const auto model = Load(config, TinyLlama(config), &adapter);
  std::vector<float> x = EmbedPrompt(*model, Prompt(), -1, {});
  std::vector<int32_t> positions(kTokens);
  std::iota(positions.begin(), positions.end(), 40);
  std::vector<float> scale(kTokens);
  for (size_t i = 0; i < scale.size(); i += 3) scale[i] = 1.0F;
  const auto copy = [](const float* from, int64_t stride, int64_t n, int64_t width) {
    std::vector<float> rows;
    for (int64_t row = 0; row < n; ++row) {
      rows.insert(rows.end(), from + row * stride, from + row * stride + width);
    }
    return rows;
  };
  const int64_t q_width = config.q_width();
  const int64_t kv_width = config.kv_width();
  const auto all = model->Qkv(1, x.data(), kTokens, positions.data(), scale.data());
  const std::vector<float> q = copy(all.q, all.stride, kTokens, q_width);
  const std::vector<float> k = copy(all.k, all.stride, kTokens, kv_width);
  const std::vector<float> v = copy(all.v, all.stride, kTokens, kv_width);
  std::vector<float> after = x;
  model->AfterAttention(1, q.data(), kTokens, scale.data(), after.data());
  for (int64_t row = 0; row < kTokens; ++row) {
    const size_t i = static_cast<size_t>(row);
    // Alone and without the adapter named at all, where it does not act.
    const float* scale1 = scale[i] == 0.0F ? nullptr : &scale[i];
    const auto one = model->Qkv(1, x.data() + row * config.hidden, 1, &positions[i], scale1);
    const std::vector<float> q1(one.q, one.q + q_width);
    EXPECT_TRUE(std::equal(q1.begin(), q1.end(), q.begin() + row * q_width)) << row;
    EXPECT_TRUE(std::equal(one.k, one.k + kv_width, k.begin() + row * kv_width)) << row;
    EXPECT_TRUE(std::equal(one.v, one.v + kv_width, v.begin() + row * kv_width)) << row;
    std::vector<float> after1(x.begin() + row * config.hidden,
                              x.begin() + (row + 1) * config.hidden);
    model->AfterAttention(1, q1.data(), 1, scale1, after1.data());
    EXPECT_TRUE(std::equal(after1.begin(), after1.end(), after.begin() + row * config.hidden))
        << row;
  }
}

// W + B A, as merging would make it.
void Merge(const MemorySource& adapter, const std::string& projection, MemorySource* weights) {
  const std::string from = "language_model.model." + projection;
  const std::string to = "model." + projection + ".weight";
  const TensorInfo& a_info = *adapter.Find(from + ".lora_A.weight");
  const std::vector<float>& a = adapter.Values(from + ".lora_A.weight");
  const std::vector<float>& b = adapter.Values(from + ".lora_B.weight");
  const size_t rank = static_cast<size_t>(a_info.shape[0]);
  const size_t in = static_cast<size_t>(a_info.shape[1]);
  std::vector<float> merged = weights->Values(to);
  for (size_t i = 0; i < merged.size(); ++i) {
    for (size_t r = 0; r < rank; ++r) merged[i] += b[i / in * rank + r] * a[r * in + i % in];
  }
  weights->Set(to, weights->Find(to)->shape, std::move(merged));
}

TEST(LanguageModel, TheAdapterEqualsMergedWeights) {
  const LanguageConfig config = TinyLlamaConfig();
  const MemorySource weights = TinyLlama(config);
  const MemorySource adapter = TinyAdapter(config);
  MemorySource merged = weights;
  for (int layer = 0; layer < config.layers; ++layer) {
    for (const char* projection : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
      Merge(adapter, "layers." + std::to_string(layer) + ".self_attn." + projection, &merged);
    }
  }
  const auto adapted = Load(config, weights, &adapter);
  EXPECT_TRUE(adapted->has_adapter());
  const std::vector<float> everywhere(kTokens, 1.0F);
  const std::vector<float> expected = LogitsOf(*Load(config, merged));
  EXPECT_LT(MaxAbsDifference(LogitsOf(*adapted, everywhere.data()), expected), 1e-4);
  // Where it does not act, the model is the unadapted one to the bit.
  const std::vector<float> nowhere(kTokens, 0.0F);
  const std::vector<float> plain = LogitsOf(*Load(config, weights));
  EXPECT_EQ(LogitsOf(*adapted, nowhere.data()), plain);
  EXPECT_EQ(LogitsOf(*adapted), plain);
  EXPECT_GT(MaxAbsDifference(plain, expected), 0.1);
}

TEST(LanguageModel, SlicesGiveTheSameCache) {
  const LanguageConfig config = TinyLlamaConfig();
  const auto model = Load(config, TinyLlama(config));
  FullCacheForward whole(*model, {.capacity = kTokens});
  FullCacheForward sliced(*model, {.capacity = kTokens});
  std::vector<float> x = EmbedPrompt(*model, Prompt(), -1, {});
  std::vector<float> y = x;
  whole.Append(kTokens, nullptr, x.data());
  sliced.Append(16, nullptr, y.data());
  sliced.Append(kTokens - 16, nullptr, y.data() + 16 * config.hidden);
  EXPECT_EQ(x, y);
  EXPECT_EQ(whole.Keys(1), sliced.Keys(1));
  EXPECT_EQ(whole.Values(1), sliced.Values(1));
}

TEST(LanguageModel, ReportsRisingProgress) {
  const LanguageConfig config = TinyLlamaConfig();
  const LanguageSource source{.weights = std::make_shared<MemorySource>(TinyLlama(config))};
  std::vector<double> seen;
  const auto model = LanguageModel::Load(config, source, MatrixType::kF32,
                                         [&](double share) { seen.push_back(share); });
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(seen.size(), 1 + 4 * 2);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_DOUBLE_EQ(seen.back(), 1.0);
  EXPECT_GT((*model)->weight_bytes(), 0);
}

absl::Status AdapterStatus(const MemorySource& adapter) {
  const LanguageConfig config = TinyLlamaConfig();
  const LanguageSource source{.weights = std::make_shared<MemorySource>(TinyLlama(config)),
                              .adapter = &adapter};
  return LanguageModel::Load(config, source, MatrixType::kF32).status();
}

TEST(LanguageModel, AFaultyAdapterIsNamed) {
  const std::string stem = "language_model.model.layers.1.self_attn.k_proj.lora_";
  MemorySource missing = TinyAdapter(TinyLlamaConfig());
  missing.Erase(stem + "B.weight");
  EXPECT_EQ(AdapterStatus(missing).code(), absl::StatusCode::kNotFound);
  MemorySource mismatch = TinyAdapter(TinyLlamaConfig());
  mismatch.SetRandom(stem + "B.weight", {16, 3}, 1.0F);  // A has rank 2
  const absl::Status status = AdapterStatus(mismatch);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              ::testing::HasSubstr(stem + "B.weight has shape [16, 3]"));
}

// llama.cpp's order of the rows of Q and K, from Hugging Face's.
std::vector<float> Interleave(const std::vector<float>& values, int64_t columns, int64_t head_dim) {
  std::vector<float> out(values.size());
  const int64_t rows = static_cast<int64_t>(values.size()) / columns;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t in_head = row % head_dim;
    const int64_t half = head_dim / 2;
    const int64_t stored =
        row - in_head + (in_head < half ? 2 * in_head : 2 * (in_head - half) + 1);
    std::copy_n(values.begin() + row * columns, columns, out.begin() + stored * columns);
  }
  return out;
}

TEST(LanguageModel, GgufAndFolderFormsOfAModelAgree) {
  const LanguageConfig config = TinyLlamaConfig();
  const MemorySource weights = TinyLlama(config);
  GgufWriter writer;
  const auto add = [&](const std::string& to, const std::string& from, bool interleaved = false) {
    const std::vector<int64_t>& shape = weights.Find(from + ".weight")->shape;
    std::vector<float> values = weights.Values(from + ".weight");
    if (interleaved) values = Interleave(values, shape.back(), config.head_dim);
    writer.AddTensor(to + ".weight", shape, values);
  };
  add("token_embd", "model.embed_tokens");
  add("output_norm", "model.norm");
  add("output", "lm_head");
  for (int i = 0; i < config.layers; ++i) {
    const std::string to = "blk." + std::to_string(i) + ".";
    const std::string from = "model.layers." + std::to_string(i) + ".";
    add(to + "attn_norm", from + "input_layernorm");
    add(to + "ffn_norm", from + "post_attention_layernorm");
    add(to + "attn_q", from + "self_attn.q_proj", true);
    add(to + "attn_k", from + "self_attn.k_proj", true);
    add(to + "attn_v", from + "self_attn.v_proj");
    add(to + "attn_output", from + "self_attn.o_proj");
    add(to + "ffn_gate", from + "mlp.gate_proj");
    add(to + "ffn_up", from + "mlp.up_proj");
    add(to + "ffn_down", from + "mlp.down_proj");
  }
  const std::string path =
      ::testing::TempDir() + "language_model_test-" + std::to_string(getpid()) + ".gguf";
  ASSERT_TRUE(writer.Write(path));
  auto file = GgufFile::Open(path);
  unlink(path.c_str());
  ASSERT_TRUE(file.ok()) << file.status();
  const LanguageSource source{.weights = *std::move(file), .naming = WeightNaming::kGguf};
  const auto model = LanguageModel::Load(config, source, MatrixType::kF32);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(LogitsOf(**model), LogitsOf(*Load(config, weights)));
}

}  // namespace
}  // namespace concertina
