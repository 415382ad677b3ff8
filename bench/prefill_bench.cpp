// Speed of prefill attention: concertina_prefill_bench [threads] [seconds per case] [case, from 1].
//
// Each case is a slice of a prompt, its own keys laid out within the measurement, in f32 and bf16,
// with and without column sums, in turns: what stands in a line was measured under the same load.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "bench/noise.h"
#include "models/kernels/isa.h"
#include "models/kernels/parallel.h"
#include "models/kernels/prefill_attention.h"

namespace concertina {
namespace {

struct Case {
  const char* name;
  int64_t rows;
  int64_t first_key;
  int64_t heads;
  int64_t kv_heads;
  int64_t dim;
  bool causal;

  int64_t keys() const { return first_key + rows; }
  double operations() const {
    const double own = causal ? static_cast<double>(rows + 1) / 2 : static_cast<double>(rows);
    return 4.0 * static_cast<double>(rows) * (static_cast<double>(first_key) + own) *
           static_cast<double>(heads * dim);
  }
};

constexpr Case kCases[] = {
    {"SmolLM2, 600 rows", 600, 0, 9, 3, 64, true},
    {"SmolLM2, 1,024 rows", 1024, 0, 9, 3, 64, true},
    {"SmolLM2, 2,000 rows", 2000, 0, 9, 3, 64, true},
    {"SmolLM2, last 256 of 2,000", 256, 1744, 9, 3, 64, true},
    {"SmolLM2, last 64 of 2,000", 64, 1936, 9, 3, 64, true},
    {"SmolLM2, last 16 of 2,000", 16, 1984, 9, 3, 64, true},
    {"LLaVA 7B, last 256 of 1,024", 256, 768, 32, 32, 128, true},
    {"vision tower", 577, 0, 16, 16, 64, false},
};

double Now() {
  using Seconds = std::chrono::duration<double>;
  return Seconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// One way to compute a case.
class Contender {
 public:
  Contender(const Case& c, AttentionPrecision precision, bool sums)
      : case_(c),
        q_(Noise(c.rows * c.heads * c.dim)),
        kv_(Noise(c.keys() * c.kv_heads * c.dim)),
        out_(q_.size()),
        columns_(static_cast<size_t>(sums ? c.keys() * c.kv_heads : 0)),
        memory_(static_cast<size_t>(PackedKeys::FloatsFor(ShapeFor(precision))) * sizeof(float)),
        old_keys_(ShapeFor(precision), memory_.floats()) {
    old_keys_.Append(kv_.data(), kv_.data(), c.first_key, c.keys() * c.dim, c.dim);
  }

  double Seconds() {
    const double begin = Now();
    Run();
    return Now() - begin;
  }

 private:
  PackedKeys::Shape ShapeFor(AttentionPrecision precision) const {
    return {precision, case_.kv_heads, case_.dim, case_.keys()};
  }

  void Run() {
    PackedKeys keys = old_keys_;
    const float* own = kv_.data() + case_.first_key * case_.dim;
    keys.Append(own, own, case_.rows, case_.keys() * case_.dim, case_.dim);
    PrefillAttentionArgs args;
    args.packed = &keys;
    args.heads = case_.heads;
    args.kv_heads = case_.kv_heads;
    args.head_dim = case_.dim;
    args.scale = 0.125f;
    args.causal = case_.causal;
    args.q = q_.data();
    args.q_stride = args.out_stride = case_.heads * case_.dim;
    args.k = args.v = kv_.data();
    args.kv_head_stride = case_.keys() * case_.dim;
    args.rows = case_.rows;
    args.first_key = case_.first_key;
    args.out = out_.data();
    args.column_sums = columns_.empty() ? nullptr : columns_.data();
    args.column_stride = case_.keys();
    PrefillAttention(args, workspace_);
  }

  const Case case_;
  const std::vector<float> q_;
  const std::vector<float> kv_;
  std::vector<float> out_;
  std::vector<float> columns_;
  AlignedBuffer memory_;
  PackedKeys old_keys_;
  Workspace workspace_;
};

void RunCase(const Case& c, double seconds) {
  Contender contenders[] = {{c, AttentionPrecision::kF32, false},
                            {c, AttentionPrecision::kF32, true},
                            {c, AttentionPrecision::kBf16, false},
                            {c, AttentionPrecision::kBf16, true}};
  double best[] = {1e9, 1e9, 1e9, 1e9};
  const double end = Now() + seconds;
  do {
    for (int i = 0; i < 4; ++i) best[i] = std::min(best[i], contenders[i].Seconds());
  } while (Now() < end);
  std::printf("%-28s", c.name);
  for (const double time : best) {
    std::printf(" %9.1f us %5.0f GF/s", time * 1e6, c.operations() / time * 1e-9);
  }
  std::printf("  sums +%.1f %%, +%.1f %%\n", 100 * (best[1] / best[0] - 1),
              100 * (best[3] / best[2] - 1));
}

}  // namespace
}  // namespace concertina

int main(int argc, char** argv) {
  concertina::SetThreads(argc > 1 ? std::atoi(argv[1]) : 2);
  const double seconds = argc > 2 ? std::atof(argv[2]) : 0.5;
  const int only = argc > 3 ? std::atoi(argv[3]) : 0;
  std::printf("variant %s, %d threads; f32, f32 with column sums, bf16, bf16 with column sums\n",
              concertina::isa::Active().name, concertina::Threads());
  for (int i = 1; const concertina::Case& c : concertina::kCases) {
    if (only == 0 || only == i) concertina::RunCase(c, seconds);
    ++i;
  }
}
