#include "models/kernels/workspace.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>
#include <utility>

namespace concertina {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

size_t AlignmentFor(size_t bytes) { return bytes >= kHugePage ? kHugePage : size_t{64}; }

}  // namespace

AlignedBuffer::AlignedBuffer(size_t bytes) {
  if (bytes == 0) return;
  const size_t alignment = AlignmentFor(bytes);
  bytes_ = (bytes + 63) / 64 * 64;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, bytes_) != 0) throw std::bad_alloc();
  data_ = static_cast<std::byte*>(memory);
  // Only a hint: kernels without huge pages refuse it, and nothing depends on it.
  if (alignment == kHugePage) madvise(data_, bytes_ / kHugePage * kHugePage, MADV_HUGEPAGE);
}

AlignedBuffer::AlignedBuffer(AlignedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

AlignedBuffer& AlignedBuffer::operator=(AlignedBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

AlignedBuffer::~AlignedBuffer() { std::free(data_); }

float* Workspace::Floats(size_t slot, int64_t count) {
  if (slots_.size() <= slot) slots_.resize(slot + 1);
  const size_t bytes = static_cast<size_t>(count) * sizeof(float);
  if (slots_[slot].bytes() < bytes) {
    // The old buffer goes first, and a quarter is added, so that caches growing token by token do
    // not reallocate at every step.
    slots_[slot] = AlignedBuffer();
    slots_[slot] = AlignedBuffer(bytes + bytes / 4);
  }
  return slots_[slot].floats();
}

int64_t Workspace::bytes() const {
  int64_t total = 0;
  for (const AlignedBuffer& slot : slots_) total += static_cast<int64_t>(slot.bytes());
  return total;
}

}  // namespace concertina
