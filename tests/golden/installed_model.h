#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace concertina::testing {

// Where models lie that a folder of goldens does not bring along.
struct InstalledModels {
  std::string gguf;       // a file; may be empty
  std::string directory;  // of *.gguf files; may be empty
  std::string vision;     // vision folder of the bundled model

  // GGUF files in the order they are tried: `gguf`, those in `directory`, $CONCERTINA_MODEL, those
  // that set-up installed.
  std::vector<std::string> Candidates() const;

  // The candidate whose content has this SHA-256 (64 lower-case digits). NOT_FOUND.
  absl::StatusOr<std::string> FindBySha256(const std::string& sha256) const;
};

}  // namespace concertina::testing
