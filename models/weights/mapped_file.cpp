#include "models/weights/mapped_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "models/weights/regular_file.h"

namespace concertina {

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& path) {
  const absl::StatusOr<RegularFile> file = RegularFile::Open(path);
  if (!file.ok()) return file.status();
  const size_t size = static_cast<size_t>(file->size());
  if (size == 0) return MappedFile(nullptr, 0);
  void* address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file->descriptor(), 0);
  if (address == MAP_FAILED) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot map '", path, "'"));
  }
  return MappedFile(static_cast<const uint8_t*>(address), size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<uint8_t*>(data_), size_);
}

void MappedFile::Advise(uint64_t offset, uint64_t bytes, Advice advice) const {
  if (offset >= size_) return;
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t end = offset + std::min<uint64_t>(bytes, size_ - offset);
  const uint64_t first = (offset + page - 1) / page * page;
  // The file's last page belongs to nobody else, so it counts as whole.
  const uint64_t last = end == size_ ? end : end / page * page;
  if (first >= last) return;
  const int kernel_advice = advice == Advice::kDontNeed ? MADV_DONTNEED : MADV_SEQUENTIAL;
  madvise(const_cast<uint8_t*>(data_) + first, last - first, kernel_advice);
}

}  // namespace concertina
