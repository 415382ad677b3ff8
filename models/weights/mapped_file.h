#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace concertina {

// A whole file mapped read-only; unmapped by the destructor. Const methods are thread-safe.
//
// REQUIRES: nobody shortens the file while it is mapped (the kernel answers a read behind the new
// end with SIGBUS). Replacing it by rename, as package managers and download tools do, is safe.
class MappedFile {
 public:
  enum class Advice {
    kSequential,  // will be read front to back: read ahead
    kDontNeed,    // this process's pages may go; a later read brings them back from the file
  };

  // Errors: those of RegularFile::Open and of mmap. An empty file has size() 0 and a null data().
  static absl::StatusOr<MappedFile> Open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

  // Tells the kernel about the pages that lie entirely inside [offset, offset + bytes), so that
  // neighbours sharing a border page are left alone. A hint: ranges outside the file are cut off
  // and a kernel that declines changes nothing.
  void Advise(uint64_t offset, uint64_t bytes, Advice advice) const;

 private:
  MappedFile(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  const uint8_t* data_;
  size_t size_;
};

}  // namespace concertina
