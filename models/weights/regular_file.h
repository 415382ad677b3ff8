#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace concertina {

// Owner of a read-only descriptor of a regular file. Directories, pipes and devices are refused,
// and opening never blocks: a model path may come from a configuration nobody has checked.
class RegularFile {
 public:
  // NOT_FOUND, PERMISSION_DENIED or another code of errno; INVALID_ARGUMENT when not a regular
  // file.
  static absl::StatusOr<RegularFile> Open(const std::string& path);

  RegularFile(RegularFile&& other) noexcept;
  RegularFile& operator=(RegularFile&& other) noexcept;
  RegularFile(const RegularFile&) = delete;
  RegularFile& operator=(const RegularFile&) = delete;
  ~RegularFile();

  int descriptor() const { return descriptor_; }
  // Bytes, as of Open().
  uint64_t size() const { return size_; }

 private:
  RegularFile(int descriptor, uint64_t size) : descriptor_(descriptor), size_(size) {}

  int descriptor_;
  uint64_t size_;
};

}  // namespace concertina
