#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace concertina {

// SHA-256 (FIPS 180-4) of a file's content as 64 lower-case hexadecimal digits, read in pieces of
// one MiB. Errors: those of RegularFile::Open and of read(2). Thread-safe.
absl::StatusOr<std::string> Sha256OfFile(const std::string& path);

}  // namespace concertina
