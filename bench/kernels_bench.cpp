// Speed of the compute kernels:
// concertina_kernels_bench [threads] [seconds per measurement] [matrix | decode | elementwise].
// Prints GF/s (2 operations per multiply-add) and GB/s of weights or cache read. Matrices go round
// a ring of copies larger than the last-level cache, as the layers of a model do.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "bench/noise.h"
#include "models/kernels/block_matrix.h"
#include "models/kernels/decode_attention.h"
#include "models/kernels/elementwise.h"
#include "models/kernels/isa.h"
#include "models/kernels/matrix.h"
#include "models/kernels/parallel.h"
#include "models/kernels/rope.h"

namespace concertina {
namespace {

double g_seconds_per_measurement = 0.2;

// Seconds of the fastest call: on a shared machine the median measures the neighbours.
double Measure(absl::FunctionRef<void()> call) {
  using Clock = std::chrono::steady_clock;
  call();
  double best = 1e9;
  double total = 0;
  for (int calls = 0; total < g_seconds_per_measurement || calls < 3; ++calls) {
    const auto start = Clock::now();
    call();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, seconds);
    total += seconds;
  }
  return best;
}

// Random weights; kStored as blocks of 4 bits with minima (Q4_1).
absl::StatusOr<std::unique_ptr<PackedMatrix>> NoiseMatrix(MatrixType type, int64_t n, int64_t k) {
  if (type == MatrixType::kStored) {
    const BlockFormat format{.bits = 4, .minima = true, .centre = 0};
    return PackBlockMatrix(
        type, n, k, format, [&](int64_t begin, int64_t end, const BlockRows& out) {
          const auto blocks = static_cast<size_t>((end - begin) * k / kWeightBlock);
          std::memset(out.quants, 5, blocks * kWeightBlock);
          std::memset(out.scales, 0x11, blocks * 2);
          std::memset(out.minima, 0x11, blocks * 2);
          return absl::OkStatus();
        });
  }
  return PackedMatrix::Pack(type, n, k, [&](int64_t begin, int64_t end, float* out) {
    const std::vector<float> rows = Noise((end - begin) * k);
    std::memcpy(out, rows.data(), rows.size() * sizeof(float));
    return absl::OkStatus();
  });
}

void BenchMatrix(MatrixType type, int64_t n, int64_t k) {
  constexpr int64_t kRingBytes = 96 << 20;
  const int64_t copies = std::clamp<int64_t>(kRingBytes / (n * k / 2), 1, 128);
  std::vector<std::unique_ptr<PackedMatrix>> ring;
  for (int64_t i = 0; i < copies; ++i) {
    auto matrix = NoiseMatrix(type, n, k);
    if (!matrix.ok()) {
      std::printf("%s\n", std::string(matrix.status().message()).c_str());
      return;
    }
    ring.push_back(*std::move(matrix));
  }
  for (const int64_t m : {1, 2, 4, 8, 16, 64, 256}) {
    const std::vector<float> x = Noise(m * k);
    std::vector<float> y(static_cast<size_t>(m * n));
    size_t next = 0;
    const double seconds = Measure(
        [&] { ring[next++ % ring.size()]->Multiply(x.data(), m, k, y.data(), n, false, nullptr); });
    const double flops = 2.0 * static_cast<double>(m * n * k);
    std::printf("matrix %-6s %6ldx%-5ld m=%-4ld %9.1f us %8.1f GF/s %7.1f GB/s\n",
                std::string(MatrixTypeName(type)).c_str(), n, k, m, seconds * 1e6,
                flops / seconds * 1e-9, static_cast<double>(ring[0]->bytes()) / seconds * 1e-9);
  }
}

void BenchDecode(int64_t sessions, int64_t entries, int64_t per_page, KvType type) {
  constexpr int64_t kHeads = 3;
  constexpr int64_t kGroup = 3;
  constexpr int64_t kDim = 64;
  constexpr int64_t kLayers = 16;  // a ring, as with matrices
  const int64_t block = per_page * kDim * (type == KvType::kF32 ? 4 : 2);
  const PageLayout layout = {kDim, type, 0, block};
  const int64_t pages = (entries + per_page - 1) / per_page;
  const int64_t items = sessions * kHeads * kLayers;
  std::vector<uint8_t> memory(static_cast<size_t>(items * pages * 2 * block));
  std::vector<const uint8_t*> table;
  for (int64_t p = 0; p < items * pages; ++p) table.push_back(memory.data() + p * 2 * block);
  const std::vector<float> q = Noise(kGroup * kDim);
  std::vector<float> out(static_cast<size_t>(items * kGroup * kDim));
  std::vector<float> sums(static_cast<size_t>(items * entries));
  std::vector<DecodeItem> all;
  for (int64_t i = 0; i < items; ++i) {
    all.push_back({{table.data() + i * pages, entries, per_page},
                   q.data(),
                   kGroup,
                   out.data() + i * kGroup * kDim,
                   sums.data() + i * entries,
                   nullptr});
  }
  Workspace workspace;
  size_t layer = 0;
  const auto step = static_cast<size_t>(sessions * kHeads);
  const double seconds = Measure([&] {
    DecodeAttention(std::span(all).subspan(layer++ % kLayers * step, step), layout, 0.125f,
                    workspace);
  });
  const double bytes = static_cast<double>(sessions * kHeads * entries * kDim * 2) *
                       (type == KvType::kF32 ? 4.0 : 2.0);
  std::printf("decode sessions=%-2ld entries=%-5ld per_page=%ld %-4s %9.1f us %7.1f GB/s\n",
              sessions, entries, per_page, type == KvType::kF32 ? "f32" : "bf16", seconds * 1e6,
              bytes / seconds * 1e-9);
}

// The payload of `rows` bf16 entries spent on groups instead: 15 % of the entries at 4/3 bits, the
// others at 3/2.
void BenchDecodePacked(int64_t sessions, int64_t rows) {
  constexpr int64_t kHeads = 3;
  constexpr int64_t kGroup = 3;
  constexpr int64_t kDim = 64;
  constexpr int64_t kLayers = 16;
  const GroupLayout layouts[] = {GroupLayout(kDim, {4, 3}), GroupLayout(kDim, {3, 2})};
  const int64_t payload = rows * kDim * 4;
  const int64_t high = payload * 19 / 100 / layouts[0].bytes();
  const int64_t counts[] = {high, (payload - high * layouts[0].bytes()) / layouts[1].bytes()};
  const int64_t items = sessions * kHeads * kLayers;
  std::vector<uint8_t> memory(static_cast<size_t>(items * payload), 0x5a);
  std::vector<std::vector<const uint8_t*>> groups;
  const uint8_t* next_group = memory.data();
  const std::vector<uint32_t> present(static_cast<size_t>(counts[0] + counts[1]), ~0U);
  const std::vector<float> q = Noise(kGroup * kDim);
  std::vector<float> out(static_cast<size_t>(items * kGroup * kDim));
  std::vector<DecodeItem> all;
  for (int64_t i = 0; i < items; ++i) {
    DecodeItem item{.q = q.data(), .group = kGroup, .out = out.data() + i * kGroup * kDim};
    for (int kind = 0; kind < 2; ++kind) {
      groups.emplace_back();
      for (int64_t g = 0; g < counts[kind]; ++g) {
        groups.back().push_back(next_group);
        next_group += layouts[kind].bytes();
      }
      item.packed[kind] = {&layouts[kind], groups.back().data(), present.data(), counts[kind]};
    }
    all.push_back(item);
  }
  const int64_t slots = DecodeSlots(all[0]);
  std::vector<float> sums(static_cast<size_t>(items * slots));
  for (int64_t i = 0; i < items; ++i) all[i].score_sums = sums.data() + i * slots;
  const PageLayout pages{.head_dim = kDim, .type = KvType::kBf16};
  Workspace workspace;
  size_t layer = 0;
  const auto step = static_cast<size_t>(sessions * kHeads);
  const double seconds = Measure([&] {
    DecodeAttention(std::span(all).subspan(layer++ % kLayers * step, step), pages, 0.125f,
                    workspace);
  });
  const int64_t entries = (counts[0] + counts[1]) * kGroupEntries;
  std::printf(
      "decode sessions=%-2ld entries=%-5ld packed in the bytes of %-4ld %9.1f us %7.1f GB/s\n",
      sessions, entries, rows, seconds * 1e6,
      static_cast<double>(sessions * kHeads * payload) / seconds * 1e-9);
}

void BenchElementwise(int64_t rows) {
  const int64_t d = 576;
  const int64_t inter = 1536;
  const std::vector<float> weight = Noise(d);
  std::vector<float> x = Noise(rows * 2 * inter);
  std::vector<float> y(static_cast<size_t>(rows * inter));
  const std::vector<int32_t> positions(static_cast<size_t>(rows), 100);
  const RopeTable rope(64, 100000.0);
  const auto print = [&](const char* name, double seconds) {
    std::printf("%-8s rows=%-4ld %9.1f us\n", name, rows, seconds * 1e6);
  };
  print("rmsnorm", Measure([&] { RmsNorm(x.data(), weight.data(), rows, d, 1e-5f, y.data()); }));
  print("silu", Measure([&] { SiluMultiply(x.data(), rows, inter, y.data()); }));
  print("gelu", Measure([&] { Gelu(y.data(), rows * inter); }));
  print("rope", Measure([&] { rope.Rotate(x.data(), rows, 9, d, positions.data()); }));
}

void BenchMatrices() {
  for (const MatrixType type :
       {MatrixType::kF32, MatrixType::kBf16, MatrixType::kInt8, MatrixType::kStored}) {
    BenchMatrix(type, 960, 576);
    BenchMatrix(type, 3072, 576);
    BenchMatrix(type, 576, 1536);
    BenchMatrix(type, 49152, 576);
  }
}

void BenchDecodes() {
  for (const KvType type : {KvType::kF32, KvType::kBf16}) {
    for (const int64_t sessions : {1, 8}) BenchDecode(sessions, 900, 8, type);
    BenchDecode(1, 4000, 4, type);
  }
  for (const int64_t rows : {180, 800}) {  // a fifth of 900 and of 4,000
    for (const int64_t sessions : {1, 16}) {
      BenchDecode(sessions, rows, 4, KvType::kBf16);
      BenchDecodePacked(sessions, rows);
    }
  }
}

void Run(std::string_view what) {
  std::printf("variant %s, %d threads\n", isa::Active().name, Threads());
  if (what.empty() || what == "matrix") BenchMatrices();
  if (what.empty() || what == "decode") BenchDecodes();
  if (what.empty() || what == "elementwise") {
    BenchElementwise(1);
    BenchElementwise(600);
  }
}

}  // namespace
}  // namespace concertina

int main(int argc, char** argv) {
  concertina::SetThreads(argc > 1 ? std::atoi(argv[1]) : 2);
  if (argc > 2) concertina::g_seconds_per_measurement = std::atof(argv[2]);
  concertina::Run(argc > 3 ? argv[3] : "");
}
