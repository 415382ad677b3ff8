#include "server/engine/session_id.h"

#include <random>

namespace concertina {
namespace {

constexpr std::string_view kPattern = "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx";
constexpr std::string_view kHex = "0123456789abcdef";

bool Matches(char pattern, char c) {
  if (pattern == 'x') return kHex.find(c) != std::string_view::npos;
  if (pattern == 'y') return c == '8' || c == '9' || c == 'a' || c == 'b';
  return c == pattern;
}

}  // namespace

std::string NewSessionId() {
  std::random_device random;
  std::string id;
  for (char c : kPattern) {
    if (c == 'x') {
      id += kHex[random() & 15];
    } else if (c == 'y') {
      id += kHex[8 | (random() & 3)];
    } else {
      id += c;
    }
  }
  return id;
}

bool IsSessionId(std::string_view id) {
  if (id.size() != kPattern.size()) return false;
  for (size_t i = 0; i < id.size(); ++i) {
    if (!Matches(kPattern[i], id[i])) return false;
  }
  return true;
}

}  // namespace concertina
