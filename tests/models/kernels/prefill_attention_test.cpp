#include "models/kernels/prefill_attention.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <tuple>
#include <vector>

#include "tests/models/kernels/test_support.h"

namespace concertina {
namespace {

struct Case {
  int64_t heads, kv_heads, head_dim, rows, first_key;
  bool causal = true;
  bool bias = false;
  AttentionPrecision precision = AttentionPrecision::kF32;

  int64_t keys() const { return first_key + rows; }
  bool bf16() const { return precision == AttentionPrecision::kBf16; }
};

// A power of two in units of ln 2: scaled queries are as exact in bf16.
constexpr float kScale = 0.25f / 1.44269504f;

constexpr AttentionPrecision kPrecisions[] = {AttentionPrecision::kF32, AttentionPrecision::kBf16};

struct Inputs {
  std::vector<float> q, k, v, bias;
};

// Exact in bf16, so that only the rounding of probabilities tells the precisions apart.
std::vector<float> RoundedFloats(int64_t count, uint32_t seed) {
  std::vector<float> values = RandomFloats(count, seed);
  for (float& value : values) {
    value = std::bit_cast<float>(std::bit_cast<uint32_t>(value) & 0xffff0000u);
  }
  return values;
}

Inputs MakeInputs(const Case& c, uint32_t seed) {
  return {RoundedFloats(c.rows * c.heads * c.head_dim, seed),
          RoundedFloats(c.kv_heads * c.keys() * c.head_dim, seed + 1),
          RoundedFloats(c.kv_heads * c.keys() * c.head_dim, seed + 2),
          RandomFloats(c.kv_heads * c.keys(), seed + 3)};
}

struct Outputs {
  explicit Outputs(const Case& c)
      : out(static_cast<size_t>(c.rows * c.heads * c.head_dim)),
        columns(static_cast<size_t>(c.kv_heads * c.keys()), 0.5f),
        per_head(static_cast<size_t>(c.heads * c.keys()), 0.5f) {}
  std::vector<float> out, columns, per_head;
};

// Runs rows [begin, end) of the case, seeing the keys up to `end`.
void RunRows(const Case& c, const Inputs& in, int64_t begin, int64_t end, Outputs& result,
             Workspace& workspace, const PackedKeys* packed = nullptr) {
  PrefillAttentionArgs args;
  args.precision = c.precision;
  args.packed = packed;
  args.heads = c.heads;
  args.kv_heads = c.kv_heads;
  args.head_dim = c.head_dim;
  args.scale = kScale;
  args.causal = c.causal;
  args.q_stride = c.heads * c.head_dim;
  args.q = in.q.data() + begin * args.q_stride;
  args.k = in.k.data();
  args.v = in.v.data();
  args.kv_head_stride = c.keys() * c.head_dim;
  args.key_bias = c.bias ? in.bias.data() : nullptr;
  args.key_bias_stride = c.keys();
  args.rows = end - begin;
  args.first_key = c.first_key + begin;
  args.out_stride = c.heads * c.head_dim;
  args.out = result.out.data() + begin * args.out_stride;
  args.column_sums = result.columns.data();
  args.column_stride = c.keys();
  if (!c.bf16()) args.per_query_head_sums = result.per_head.data();
  args.per_query_head_stride = c.keys();
  PrefillAttention(args, workspace);
}

// The same in slices, with keys and values laid out as they come, or by each call.
Outputs RunSlices(const Case& c, const Inputs& in, int64_t slice, bool packed) {
  Outputs result(c);
  Workspace workspace;
  const PackedKeys::Shape shape{.precision = c.precision,
                                .kv_heads = c.kv_heads,
                                .head_dim = c.head_dim,
                                .capacity = c.keys()};
  AlignedBuffer memory(static_cast<size_t>(PackedKeys::FloatsFor(shape)) * sizeof(float));
  // What was not laid out must not matter, whatever it is.
  std::memset(static_cast<void*>(memory.data()), 0xff, memory.bytes());
  PackedKeys keys(shape, memory.floats());
  const auto append = [&](int64_t count) {
    const int64_t at = keys.keys() * c.head_dim;
    keys.Append(in.k.data() + at, in.v.data() + at, count, c.keys() * c.head_dim, c.head_dim);
  };
  append(c.first_key);
  for (int64_t begin = 0; begin < c.rows; begin += slice) {
    const int64_t end = std::min(c.rows, begin + slice);
    append(end - begin);
    RunRows(c, in, begin, end, result, workspace, packed ? &keys : nullptr);
  }
  return result;
}

Outputs RunWhole(const Case& c, const Inputs& in) {
  Outputs result(c);
  Workspace workspace;
  RunRows(c, in, 0, c.rows, result, workspace);
  return result;
}

void CheckAgainstReference(const Case& c, const Inputs& in, const Outputs& got) {
  const int64_t d = c.head_dim;
  const int64_t group = c.heads / c.kv_heads;
  // Of a probability: half a unit in the last of 8 bits, and a little for exp.
  const double error = c.bf16() ? 0x1p-8 + 1e-4 : 0;
  std::vector<double> columns(got.columns.size(), 0.5);
  std::vector<double> per_head(got.per_head.size(), 0.5);
  for (int64_t row = 0; row < c.rows; ++row) {
    const int64_t visible = c.causal ? c.first_key + row + 1 : c.keys();
    for (int64_t h = 0; h < c.heads; ++h) {
      const float* q = &in.q[static_cast<size_t>((row * c.heads + h) * d)];
      const float* k = &in.k[static_cast<size_t>(h / group * c.keys() * d)];
      const float* v = &in.v[static_cast<size_t>(h / group * c.keys() * d)];
      std::vector<double> p(static_cast<size_t>(visible));
      double total = 0;
      for (int64_t n = 0; n < visible; ++n) {
        double dot = 0;
        for (int64_t i = 0; i < d; ++i) dot += static_cast<double>(q[i]) * k[n * d + i];
        if (c.bias)
          dot +=
              in.bias[static_cast<size_t>(h / group * c.keys() + n)] / static_cast<double>(kScale);
        total += p[static_cast<size_t>(n)] = std::exp(static_cast<double>(kScale) * dot);
      }
      std::vector<double> out(static_cast<size_t>(d));
      std::vector<double> size(static_cast<size_t>(d));
      for (int64_t n = 0; n < visible; ++n) {
        const double share = p[static_cast<size_t>(n)] / total;
        for (int64_t i = 0; i < d; ++i) {
          out[static_cast<size_t>(i)] += share * v[n * d + i];
          size[static_cast<size_t>(i)] += share * std::abs(v[n * d + i]);
        }
        columns[static_cast<size_t>(h / group * c.keys() + n)] +=
            share / static_cast<double>(group);
        per_head[static_cast<size_t>(h * c.keys() + n)] += share;
      }
      for (int64_t i = 0; i < d; ++i) {
        ASSERT_NEAR(got.out[static_cast<size_t>((row * c.heads + h) * d + i)],
                    out[static_cast<size_t>(i)], 1e-5 + error * size[static_cast<size_t>(i)])
            << d << " " << group << " " << c.rows << " " << c.first_key;
      }
    }
  }
  for (size_t i = 0; i < columns.size(); ++i) {
    ASSERT_NEAR(got.columns[i], columns[i], 2e-5 + error * columns[i]) << c.rows;
  }
  if (c.bf16()) return;
  for (size_t i = 0; i < per_head.size(); ++i) ASSERT_NEAR(got.per_head[i], per_head[i], 2e-5);
}

class PrefillAttentionTest : public KernelTest {};

TEST_P(PrefillAttentionTest, MatchesReference) {
  uint32_t seed = 1;
  for (const int64_t head_dim : {4, 8, 16, 20, 33, 64, 80, 128}) {
    for (const int64_t group : {1, 2, 3, 4, 7}) {
      for (const auto& [rows, first_key] : {std::pair<int64_t, int64_t>{1, 0},
                                            {1, 100},
                                            {15, 17},
                                            {16, 0},
                                            {17, 175},
                                            {2, 191},
                                            {33, 64},
                                            {65, 5}}) {
        Case c = {2 * group, 2, head_dim, rows, first_key};
        c.causal = seed % 3 != 0;
        c.bias = seed % 2 == 0;
        const Inputs in = MakeInputs(c, seed++);
        for (const AttentionPrecision precision : kPrecisions) {
          c.precision = precision;
          CheckAgainstReference(c, in, RunWhole(c, in));
        }
      }
    }
  }
}

TEST_P(PrefillAttentionTest, LongPromptMatchesReference) {
  Case c = {3, 1, 16, 600, 3};  // more than one round of tiles
  const Inputs in = MakeInputs(c, 1);
  for (const AttentionPrecision precision : kPrecisions) {
    c.precision = precision;
    CheckAgainstReference(c, in, RunWhole(c, in));
  }
}

// Scores far apart, as sharp heads have them: the maximum rises late, and what was summed before
// all but vanishes.
TEST_P(PrefillAttentionTest, ScoresFarApartMatchReference) {
  Case c = {2, 1, 64, 40, 200};
  Inputs in = MakeInputs(c, 1);
  for (float& q : in.q) q *= 32;
  for (const AttentionPrecision precision : kPrecisions) {
    c.precision = precision;
    const Outputs got = RunWhole(c, in);
    for (const float x : got.out) ASSERT_TRUE(std::isfinite(x));
    if (c.bf16()) CheckAgainstReference(c, in, got);
  }
}

TEST_P(PrefillAttentionTest, SlicesAndThreadsGiveTheSameBits) {
  for (const auto& [heads, kv_heads, first_key] :
       {std::tuple<int64_t, int64_t, int64_t>{9, 3, 37}, {2, 2, 0}, {7, 1, 96}}) {
    for (const AttentionPrecision precision : kPrecisions) {
      Case c = {heads, kv_heads, 64, 200, first_key};
      c.precision = precision;
      const Inputs in = MakeInputs(c, 1);
      const Outputs whole = RunWhole(c, in);
      for (const int threads : {1, 2}) {
        SetThreads(threads);
        for (const int64_t slice : {16, 48, 64, 128, 200}) {
          for (const bool packed : {false, true}) {
            const Outputs parts = RunSlices(c, in, slice, packed);
            ASSERT_EQ(parts.out, whole.out) << slice;
            ASSERT_EQ(parts.columns, whole.columns) << slice;
            ASSERT_EQ(parts.per_head, whole.per_head) << slice;
          }
        }
      }
    }
  }
}

TEST_P(PrefillAttentionTest, RoundsGiveTheSameBitsAsSlices) {
  for (const AttentionPrecision precision : kPrecisions) {
    Case c = {2, 1, 8, 1100, 0};
    c.precision = precision;
    const Inputs in = MakeInputs(c, 1);
    const Outputs whole = RunWhole(c, in);
    const Outputs parts = RunSlices(c, in, 320, true);
    EXPECT_EQ(parts.out, whole.out);
    EXPECT_EQ(parts.columns, whole.columns);
  }
}

TEST_P(PrefillAttentionTest, ARowAloneGivesTheSameBits) {
  for (const AttentionPrecision precision : kPrecisions) {
    for (const int64_t head_dim : {8, 20, 64}) {
      for (const int64_t kv_heads : {2, 4}) {
        Case c = {4, kv_heads, head_dim, 50, 30};
        c.precision = precision;
        const Inputs in = MakeInputs(c, 1);
        EXPECT_EQ(RunSlices(c, in, 1, true).out, RunWhole(c, in).out);
      }
    }
  }
}

TEST_P(PrefillAttentionTest, NoRowsChangeNothing) {
  const Case c = {2, 1, 8, 0, 5};
  const Inputs in = MakeInputs(c, 1);
  EXPECT_EQ(RunWhole(c, in).columns, Outputs(c).columns);
}

TEST_P(PrefillAttentionTest, SumsAreOptionalAndStridesHonoured) {
  const Case c = {4, 2, 64, 20, 0};
  const Inputs in = MakeInputs(c, 1);
  const Outputs whole = RunWhole(c, in);
  // The same keys and values as interleaved heads [key][head][head_dim].
  std::vector<float> k(in.k.size());
  std::vector<float> v(in.v.size());
  for (int64_t h = 0; h < 2; ++h) {
    for (int64_t n = 0; n < 20; ++n) {
      std::memcpy(&k[static_cast<size_t>((n * 2 + h) * 64)],
                  &in.k[static_cast<size_t>((h * 20 + n) * 64)], 64 * sizeof(float));
      std::memcpy(&v[static_cast<size_t>((n * 2 + h) * 64)],
                  &in.v[static_cast<size_t>((h * 20 + n) * 64)], 64 * sizeof(float));
    }
  }
  PrefillAttentionArgs args;
  args.heads = 4;
  args.kv_heads = 2;
  args.head_dim = 64;
  args.scale = kScale;
  args.q = in.q.data();
  args.q_stride = 256;
  args.k = k.data();
  args.v = v.data();
  args.kv_head_stride = 64;
  args.kv_row_stride = 128;
  args.rows = 20;
  args.out_stride = 300;
  std::vector<float> out(20 * 300, -7.0f);
  args.out = out.data();
  Workspace workspace;
  PrefillAttention(args, workspace);
  for (size_t r = 0; r < 20; ++r) {
    EXPECT_EQ(std::memcmp(&out[r * 300], &whole.out[r * 256], 256 * sizeof(float)), 0);
    EXPECT_EQ(out[r * 300 + 256], -7.0f);
  }
}

CONCERTINA_ALL_VARIANTS(PrefillAttentionTest);

}  // namespace
}  // namespace concertina
