#include "models/tuning/measure.h"

#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstring>
#include <limits>
#include <utility>

#include "models/kernels/parallel.h"

namespace concertina {
namespace {

using Clock = std::chrono::steady_clock;

// Enough weights for the rates of the whole matrix: more of them only take longer.
constexpr int64_t kSampleWeights = int64_t{1} << 20;
constexpr int64_t kSampleRowsPerThread = 64;
// Many short rounds over all types and row counts: each meets a quiet moment of a machine that
// others use too.
constexpr int kRoundsMin = 2;
constexpr int kRoundsMax = 20;
constexpr std::chrono::milliseconds kRoundsTime{120};
constexpr std::array<int64_t, 8> kThresholdRows{2, 4, 8, 16, 32, 64, 128, 256};
constexpr int kThresholdRuns = 3;
constexpr int64_t kCacheBytesMax = int64_t{64} << 20;
constexpr int64_t kReadGrain = 1 << 16;
constexpr double kNever = std::numeric_limits<double>::infinity();

// What has to be read so that nothing else is left in the caches.
int64_t FlushBytes(int64_t model_parameters) {
  const auto cache = static_cast<int64_t>(sysconf(_SC_LEVEL3_CACHE_SIZE));
  const int64_t twice = cache > 0 ? 2 * cache : kCacheBytesMax;
  return std::min({model_parameters, twice, kCacheBytesMax});
}

// Deterministic, without a pattern: rates do not depend on the values, but zeros and denormal
// numbers would be special.
uint32_t Scramble(int64_t index) {
  const auto low = static_cast<uint32_t>(index) * 2654435761U;
  return low ^ (low >> 15);
}

float Value(int64_t index) { return static_cast<float>(Scramble(index) >> 8) * 0x1p-23F - 1.0F; }

absl::Status FillRows(int64_t k, int64_t begin, int64_t end, float* out) {
  for (int64_t i = begin * k; i < end * k; ++i) *out++ = Value(i);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<PackedMatrix>> PackStored(const BlockFormat& format, int64_t n,
                                                         int64_t k) {
  constexpr uint16_t kHalfScale = 0x2000;  // 2^-7 as f16
  const auto read = [&](int64_t begin, int64_t end, const BlockRows& out) {
    const int64_t count = (end - begin) * k;
    const uint32_t mask = format.bits == 4 ? 0xF : 0xFF;
    for (int64_t i = 0; i < count; ++i) {
      out.quants[i] = static_cast<uint8_t>((Scramble(begin * k + i) >> 8) & mask);
    }
    std::fill_n(out.scales, count / kWeightBlock, kHalfScale);
    if (out.minima != nullptr) std::fill_n(out.minima, count / kWeightBlock, kHalfScale);
    return absl::OkStatus();
  };
  return PackBlockMatrix(MatrixType::kStored, n, k, format, read);
}

bool Allowed(const SampleMatrix& sample, MatrixType type) {
  if (type == MatrixType::kBf16) return Bf16MatrixSupported();
  if (type == MatrixType::kStored) return sample.stored.has_value();
  return true;
}

absl::StatusOr<std::unique_ptr<PackedMatrix>> PackSample(const SampleMatrix& sample,
                                                         MatrixType type, int64_t n) {
  if (type == MatrixType::kStored && sample.k % kWeightBlock == 0) {
    return PackStored(*sample.stored, n, sample.k);
  }
  const int64_t k = sample.k;
  const auto read = [k](int64_t begin, int64_t end, float* out) {
    return FillRows(k, begin, end, out);
  };
  return PackedMatrix::Pack(type, n, k, read);
}

}  // namespace

TypeMeasurement::TypeMeasurement(int64_t n, int64_t k, int64_t flush_bytes)
    : input_(static_cast<size_t>(kMeasuredRows.back() * k) * sizeof(float)),
      output_(static_cast<size_t>(kMeasuredRows.back() * n) * sizeof(float)),
      other_memory_(static_cast<size_t>(flush_bytes)) {
  for (int64_t i = 0; i < kMeasuredRows.back() * k; ++i) input_.floats()[i] = Value(i);
  std::memset(other_memory_.data(), 0, other_memory_.bytes());
}

absl::StatusOr<TypeMeasurement> TypeMeasurement::Make(const SampleMatrix& sample,
                                                      std::span<const MatrixType> types) {
  const int64_t rows = std::max(kSampleWeights / sample.k, kSampleRowsPerThread * Threads());
  const int64_t n = std::min(rows, sample.n);
  try {
    TypeMeasurement measurement(n, sample.k, FlushBytes(sample.model_parameters));
    for (const MatrixType type : types) {
      if (!Allowed(sample, type)) continue;
      auto matrix = PackSample(sample, type, n);
      if (!matrix.ok()) return matrix.status();
      measurement.candidates_.push_back(
          {.type = type, .matrix = *std::move(matrix), .seconds = {}});
      measurement.candidates_.back().seconds.fill(kNever);
      // The kernels' scratch memory is allocated with the first product.
      measurement.Seconds(*measurement.candidates_.back().matrix, kMeasuredRows.back());
    }
    return measurement;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory to measure the types of weights");
  }
}

void TypeMeasurement::ReadOtherMemory() {
  const auto floats = static_cast<int64_t>(other_memory_.bytes() / sizeof(float));
  std::vector<float> sums(static_cast<size_t>(Threads()));
  ParallelTasks((floats + kReadGrain - 1) / kReadGrain, [&](int worker, int64_t task) {
    const float* const begin = other_memory_.floats() + task * kReadGrain;
    const float* const end = other_memory_.floats() + std::min(floats, (task + 1) * kReadGrain);
    constexpr int64_t kLineFloats = 16;
    float sum = 0;
    for (const float* p = begin; p < end; p += kLineFloats) sum += *p;
    sums[static_cast<size_t>(worker)] += sum;
  });
  for (const float sum : sums) sink_ += sum;
}

double TypeMeasurement::Seconds(const PackedMatrix& matrix, int64_t rows) {
  const Clock::time_point start = Clock::now();
  matrix.Multiply(input_.floats(), rows, matrix.k(), output_.floats(), matrix.n(),
                  /*accumulate=*/false, nullptr);
  return std::chrono::duration<double>(Clock::now() - start).count();
}

const PackedMatrix& TypeMeasurement::Copy(MatrixType type) const {
  const auto found = std::find_if(candidates_.begin(), candidates_.end(),
                                  [&](const Candidate& c) { return c.type == type; });
  assert(found != candidates_.end());
  return *found->matrix;
}

// A single row finds the weights as it does in use: not in the caches, because the rest of the
// model has passed through them since.
void TypeMeasurement::RunRound() {
  for (size_t i = 0; i < kMeasuredRows.size(); ++i) {
    if (kMeasuredRows[i] == 1) ReadOtherMemory();
    for (Candidate& candidate : candidates_) {
      double& best = candidate.seconds[i];
      best = std::min(best, Seconds(*candidate.matrix, kMeasuredRows[i]));
    }
  }
}

std::vector<TypeRates> TypeMeasurement::Rates() {
  const Clock::time_point start = Clock::now();
  for (int round = 0; round < kRoundsMax; ++round) {
    if (round >= kRoundsMin && Clock::now() - start > kRoundsTime) break;
    RunRound();
  }
  std::vector<TypeRates> rates;
  for (const Candidate& candidate : candidates_) {
    const auto weights = static_cast<double>(candidate.matrix->n() * candidate.matrix->k());
    const auto bytes = static_cast<double>(candidate.matrix->bytes());
    const double many = static_cast<double>(kMeasuredRows.back());
    rates.push_back({.type = candidate.type,
                     .bytes_per_parameter = bytes / weights,
                     .seconds = candidate.seconds,
                     .read_bytes_per_second = bytes / candidate.seconds.front(),
                     .operations_per_second = 2 * weights * many / candidate.seconds.back()});
  }
  return rates;
}

int64_t TypeMeasurement::Threshold(MatrixType few, MatrixType many) {
  int64_t threshold = kThresholdRows.back();
  for (auto rows = kThresholdRows.rbegin(); rows != kThresholdRows.rend(); ++rows) {
    double few_seconds = kNever;
    double many_seconds = kNever;
    for (int run = 0; run < kThresholdRuns; ++run) {
      few_seconds = std::min(few_seconds, Seconds(Copy(few), *rows));
      many_seconds = std::min(many_seconds, Seconds(Copy(many), *rows));
    }
    if (many_seconds >= few_seconds) break;
    threshold = *rows;
  }
  return threshold;
}

}  // namespace concertina
