// Speed of decode attention, with the eviction that the same threads do, and of appending before
// it, in steps of the bundled model's shape (30 layers, 9 query heads on 3 KV heads of 64) on real
// session caches, without the model:
//
//   concertina_decode_bench [threads] [seconds per case] [case, counted from 1]
//
// Each layer of each session has memory of its own, and between two steps as much memory is read
// as the weights would take, so no step finds its cache in the CPU's. Beside each case stands the
// bandwidth at which the same threads read plain memory, measured in turns with it.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <vector>

#include "cache/session_cache.h"
#include "models/kernels/decode_attention.h"
#include "models/kernels/isa.h"
#include "models/kernels/parallel.h"
#include "models/kernels/workspace.h"
#include "server/engine/decode_items.h"

namespace concertina {
namespace {

constexpr CacheShape kShape = {.layers = 30, .kv_heads = 3, .head_dim = 64};
constexpr int64_t kGroup = 3;
constexpr int64_t kPoolBytes = int64_t{1} << 30;
constexpr int64_t kWeightBytes = int64_t{96} << 20;
constexpr int kStepsMax = 64;  // each lengthens the cache

struct Case {
  const char* policy;
  double budget;
  int sessions;
  int32_t tokens;
  EntryType type;
};

constexpr Case kCases[] = {
    {"full", 1.0, 16, 1300, EntryType::kBf16},
    {"full", 1.0, 1, 900, EntryType::kBf16},
    {"full", 1.0, 1, 4000, EntryType::kBf16},
    {"concertina", 0.2, 1, 900, EntryType::kBf16},
    {"concertina", 0.2, 1, 4000, EntryType::kBf16},
    {"concertina", 0.2, 16, 1024, EntryType::kBf16},
    {"full", 1.0, 16, 1300, EntryType::kInt8},
    {"full", 1.0, 16, 1300, EntryType::kF32},
    {"concertina", 0.2, 1, 900, EntryType::kPacked},
    {"concertina", 0.2, 1, 4000, EntryType::kPacked},
    {"concertina", 0.2, 16, 1024, EntryType::kPacked},
};

const char* NameOf(EntryType type) {
  switch (type) {
    case EntryType::kF32:
      return "f32";
    case EntryType::kBf16:
      return "bf16";
    case EntryType::kInt8:
      return "int8";
    case EntryType::kPacked:
      return "packed";
  }
  std::abort();
}

double Now() {
  using Seconds = std::chrono::duration<double>;
  return Seconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Fast and even: what the values are does not matter.
void FillWithNoise(float* values, int64_t count, uint32_t seed) {
  uint32_t state = seed * 2654435761u + 1;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    values[i] = static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
  }
}

// Reads plain memory with all threads.
class Reader {
 public:
  explicit Reader(int64_t bytes) : buffer_(static_cast<size_t>(bytes)) {
    std::fill_n(words(), bytes / 8, 1);
  }

  // Bytes per second.
  double Run() {
    const double start = Now();
    const auto count = static_cast<int64_t>(buffer_.bytes() / 8);
    ParallelFor(0, count, 4096, [&](int64_t begin, int64_t end) {
      uint64_t sum = 0;
      for (int64_t i = begin; i < end; ++i) sum += words()[i];
      sink_ = sink_ + sum;
    });
    return static_cast<double>(buffer_.bytes()) / (Now() - start);
  }

 private:
  uint64_t* words() { return reinterpret_cast<uint64_t*>(buffer_.data()); }

  AlignedBuffer buffer_;
  volatile uint64_t sink_ = 0;
};

class Steps {
 public:
  explicit Steps(const Case& which) {
    auto pool = PagePool::Create(kPoolBytes, PageBytesFor(kShape));
    auto policy = MakePolicy(which.policy);
    if (!pool.ok() || !policy.ok()) std::abort();
    pool_ = *std::move(pool);
    for (int i = 0; i < which.sessions; ++i) {
      caches_.push_back(std::make_unique<SessionCache>(pool_.get(), kShape, which.type, *policy,
                                                       Budget::Ratio(which.budget),
                                                       OnContextEnd::kRefuse));
      Prefill(*caches_.back(), which.tokens, static_cast<uint32_t>(i));
      caches_.back()->BeginDecode();
    }
    const auto rows = static_cast<size_t>(which.sessions);
    q_.resize(rows * kShape.kv_heads * kGroup * kShape.head_dim);
    out_.resize(q_.size());
    k_.resize(rows * kShape.kv_heads * kShape.head_dim);
    FillWithNoise(q_.data(), static_cast<int64_t>(q_.size()), 7);
    FillWithNoise(k_.data(), static_cast<int64_t>(k_.size()), 8);
  }

  // One token for every session. Adds the seconds spent.
  void Run(double* attention, double* appending) {
    for (int layer = 0; layer < kShape.layers; ++layer) {
      const double start = Now();
      for (size_t i = 0; i < caches_.size(); ++i) {
        const float* k = k_.data() + i * kShape.kv_heads * kShape.head_dim;
        if (!caches_[i]->AppendToken(layer, k, k).ok()) std::abort();
      }
      CollectItems(layer);
      const PageLayout pages = PageLayoutOf(caches_[0]->layout());
      for (const auto& cache : caches_) cache->BeginEviction(layer);
      const double appended = Now();
      DecodeAttention(items_, pages, 0.125f, workspace_, [&](int64_t item) {
        caches_[item / kShape.kv_heads]->EvictHead(layer, static_cast<int>(item % kShape.kv_heads));
      });
      *attention += Now() - appended;
      *appending += appended - start;
    }
    const double start = Now();
    for (const auto& cache : caches_) cache->CommitToken();
    *appending += Now() - start;
  }

  int64_t entries() const {
    return std::accumulate(
        caches_.begin(), caches_.end(), int64_t{0},
        [](int64_t sum, const auto& cache) { return sum + cache->live_entries(); });
  }
  int64_t payload_bytes() const {
    return std::accumulate(
        caches_.begin(), caches_.end(), int64_t{0},
        [](int64_t sum, const auto& cache) { return sum + cache->payload_bytes(); });
  }

 private:
  static void Prefill(SessionCache& cache, int32_t tokens, uint32_t seed) {
    if (!cache.BeginPrefill(tokens).ok()) std::abort();
    const auto rows = static_cast<size_t>(kShape.kv_heads) * tokens;
    std::vector<float> k(rows * kShape.head_dim), score(rows);
    std::vector<uint32_t> birth(rows);
    std::vector<uint16_t> mass(rows);
    LayerPrompt prompt{.k = k.data(),
                       .v = k.data(),
                       .score = score.data(),
                       .birth = birth.data(),
                       .mass = mass.data(),
                       .capacity = tokens};
    for (int layer = 0; layer < kShape.layers; ++layer) {
      cache.LoadLayer(layer, &prompt);
      FillWithNoise(k.data(), static_cast<int64_t>(k.size()), seed * 64 + layer);
      FillWithNoise(score.data(), static_cast<int64_t>(score.size()), seed * 64 + layer + 1);
      if (!cache.FoldLayer(layer, prompt).ok()) std::abort();
    }
    cache.CommitPrefill();
  }

  void CollectItems(int layer) {
    items_.clear();
    const int64_t width = kGroup * kShape.head_dim;
    for (size_t i = 0; i < caches_.size(); ++i) {
      SessionCache& cache = *caches_[i];
      for (int head = 0; head < kShape.kv_heads; ++head) {
        const int64_t at = (static_cast<int64_t>(i) * kShape.kv_heads + head) * width;
        DecodeItem item = DecodeItemOf(cache, layer, head);
        item.q = q_.data() + at;
        item.group = kGroup;
        item.out = out_.data() + at;
        items_.push_back(item);
      }
    }
  }

  std::unique_ptr<PagePool> pool_;
  std::vector<std::unique_ptr<SessionCache>> caches_;
  std::vector<DecodeItem> items_;
  std::vector<float> q_, k_, out_;
  Workspace workspace_;
};

void RunCase(const Case& which, double seconds, Reader& reader) {
  Steps steps(which);
  double least = 1e9, attention = 0, appending = 0, bandwidth = 0;
  const double end = Now() + seconds;
  int steps_taken = 0;
  do {
    bandwidth = std::max(bandwidth, reader.Run());
    double attended = 0;
    steps.Run(&attended, &appending);
    least = std::min(least, attended);
    attention += attended;
  } while (++steps_taken < kStepsMax && Now() < end);
  const double rate = static_cast<double>(steps.payload_bytes()) / least;
  std::printf(
      "%-10s %4.2f %-6s %2d x %4d tokens, %6.1f entries per head: attention %7.3f ms"
      " (mean %7.3f), %5.1f GB/s of %5.1f (%.2f), appending %7.3f ms\n",
      which.policy, which.budget, NameOf(which.type), which.sessions, which.tokens,
      static_cast<double>(steps.entries()) / (which.sessions * kShape.layers * kShape.kv_heads),
      least * 1e3, attention / steps_taken * 1e3, rate * 1e-9, bandwidth * 1e-9, rate / bandwidth,
      appending / steps_taken * 1e3);
  std::fflush(stdout);
}

void RunAll(double seconds, int only) {
  std::printf("variant %s, %d threads\n", isa::Active().name, Threads());
  Reader reader(kWeightBytes);
  int number = 0;
  for (const Case& which : kCases) {
    if (++number == only || only == 0) RunCase(which, seconds, reader);
  }
}

}  // namespace
}  // namespace concertina

int main(int argc, char** argv) {
  concertina::SetThreads(argc > 1 ? std::atoi(argv[1]) : 2);
  concertina::RunAll(argc > 2 ? std::atof(argv[2]) : 1.0, argc > 3 ? std::atoi(argv[3]) : 0);
}
