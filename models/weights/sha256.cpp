#include "models/weights/sha256.h"

#include <openssl/evp.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "models/weights/regular_file.h"

namespace concertina {
namespace {

using DigestContext = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;

absl::Status HashDescriptor(int descriptor, EVP_MD_CTX* context) {
  std::vector<unsigned char> piece(1 << 20);
  while (true) {
    const ssize_t count = read(descriptor, piece.data(), piece.size());
    if (count == 0) return absl::OkStatus();
    if (count < 0) {
      if (errno == EINTR) continue;
      return absl::ErrnoToStatus(errno, "cannot read");
    }
    if (EVP_DigestUpdate(context, piece.data(), static_cast<size_t>(count)) != 1) {
      return absl::InternalError("libcrypto refused data for SHA-256");
    }
  }
}

}  // namespace

absl::StatusOr<std::string> Sha256OfFile(const std::string& path) {
  const absl::StatusOr<RegularFile> file = RegularFile::Open(path);
  if (!file.ok()) return file.status();
  const DigestContext context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  if (context == nullptr || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) {
    return absl::InternalError("libcrypto offers no SHA-256");
  }
  const absl::Status hashed = HashDescriptor(file->descriptor(), context.get());
  if (!hashed.ok()) {
    return absl::Status(hashed.code(), absl::StrCat("'", path, "': ", hashed.message()));
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  if (EVP_DigestFinal_ex(context.get(), digest, &length) != 1) {
    return absl::InternalError("libcrypto failed to finish SHA-256");
  }
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<char*>(digest), length));
}

}  // namespace concertina
