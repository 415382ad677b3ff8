#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace concertina {

// 64-byte aligned memory without initialisation. Large buffers ask for huge pages: streaming
// weights through 4 KiB pages costs a TLB miss every 4 KiB.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t bytes);
  AlignedBuffer(AlignedBuffer&& other) noexcept;
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept;
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  ~AlignedBuffer();

  std::byte* data() const { return data_; }
  float* floats() const { return reinterpret_cast<float*>(data_); }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

// Grow-only scratch memory of the kernels, reused from call to call so that a steady state
// allocates nothing. Slots are numbered by the kernel; a slot's contents do not survive the next
// request for it. Not thread-safe: owned by the engine thread, which takes all slots before it goes
// parallel.
class Workspace {
 public:
  // At least `count` floats, 64-byte aligned, uninitialised.
  float* Floats(size_t slot, int64_t count);
  // Memory held, in bytes.
  int64_t bytes() const;

 private:
  std::vector<AlignedBuffer> slots_;
};

}  // namespace concertina
