#pragma once

#include <string>
#include <string_view>

namespace concertina {

// A random UUIDv4, lower case (RFC 9562).
std::string NewSessionId();

// Whether `id` has exactly that form.
bool IsSessionId(std::string_view id);

}  // namespace concertina
