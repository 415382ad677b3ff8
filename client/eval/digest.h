#pragma once

#include <string>
#include <string_view>

namespace concertina::eval {

// SHA-256 in lower-case hexadecimal.
std::string Sha256(std::string_view bytes);

}  // namespace concertina::eval
