#pragma once

#include <random>
#include <string>

namespace concertina::testing {

// Damages a file in one of several ways, chosen by `random`: flips bits, cuts, repeats, removes or
// overwrites a stretch, puts an extreme 4- or 8-byte number somewhere. Most damage is done within
// the first `header` bytes.
std::string MutateBytes(std::string bytes, size_t header, std::mt19937& random);

// Damages a JSON document: as MutateBytes, or by replacing, removing, renaming, repeating or
// nesting a value of it.
std::string MutateJson(const std::string& text, std::mt19937& random);

}  // namespace concertina::testing
