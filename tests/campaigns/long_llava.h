#pragma once

#include <string>
#include <vector>

namespace concertina::testing {

// The tiny LLaVA with a trained context declared far longer than it is, so that a turn of it can be
// made to last for seconds. A folder of links to its files, removed at exit.
std::string LongLlavaFolder();

// Flags for it, as of TinyLlava().
std::vector<std::string> LongLlava(const std::string& pool_bytes = "16MiB");

// Most tokens one turn of it may ask for.
inline constexpr int kLongTurnTokens = 16'000;

}  // namespace concertina::testing
