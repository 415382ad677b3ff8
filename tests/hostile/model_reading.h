#pragma once

#include <string>

#include "absl/status/status.h"

namespace concertina::testing {

// Reads a possibly damaged model file. An error of the reader is returned. What is accepted is
// compared with a reading of our own that knows nothing of the reader's: a difference is a test
// failure, named by `EXPECT`s.
absl::Status ReadGguf(const std::string& path);
absl::Status ReadSafetensors(const std::string& path);
// A model folder, of which one file is damaged.
absl::Status ReadIndex(const std::string& folder);
absl::Status ReadModelFolder(const std::string& folder);
absl::Status ReadTokenizer(const std::string& folder);

// A small GGUF file with the metadata of a model, its vocabulary and some tensors.
std::string SmallModelGguf();

}  // namespace concertina::testing
