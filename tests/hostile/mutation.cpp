#include "tests/hostile/mutation.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

namespace concertina::testing {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kExtremes[] = {0,
                                  1,
                                  0x7f,
                                  0xff,
                                  0x7fffffff,
                                  0x80000000,
                                  0xffffffff,
                                  uint64_t{1} << 32,
                                  uint64_t{1} << 40,
                                  uint64_t{1} << 61,
                                  uint64_t{1} << 62,
                                  ~uint64_t{0} >> 1,
                                  uint64_t{1} << 63,
                                  ~uint64_t{0} - 7,
                                  ~uint64_t{0}};

size_t Below(size_t limit, std::mt19937& random) { return limit == 0 ? 0 : random() % limit; }

std::string Deep(size_t depth, const char* open, const char* close) {
  std::string text;
  for (size_t i = 0; i < depth; ++i) text += open;
  text += "1";
  for (size_t i = 0; i < depth; ++i) text += close;
  return text;
}

// Text to stand where a value stood.
std::string HostileValue(std::mt19937& random) {
  static const std::string* const kValues =
      new std::string[]{"null",
                        "true",
                        "-1",
                        "0",
                        "1",
                        "2",
                        "1e308",
                        "-1e308",
                        "1e-320",
                        "1e999",
                        "0.5",
                        "2147483647",
                        "2147483648",
                        "-2147483648",
                        "4294967296",
                        "9223372036854775807",
                        "-9223372036854775808",
                        "18446744073709551615",
                        "18446744073709551616",
                        "16777216",
                        "1048576",
                        "4194304",
                        "\"\"",
                        "\"x\"",
                        "\"../../etc/passwd\"",
                        "\"\\u0000\"",
                        "\"\\ud800\"",
                        "[]",
                        "{}",
                        "[[]]",
                        "[-1]",
                        "{\"\":{}}",
                        "NaN",
                        "\"\xff\"",
                        Deep(50, "[", "]"),
                        Deep(20'000, "[", "]"),
                        Deep(5'000, "{\"a\":", "}"),
                        "\"" + std::string(1 << 20, 'a') + "\"",
                        "[" + std::string(200'000, ' ') + "]"};
  return kValues[Below(39, random)];
}

// Paths of all values.
void Collect(const Json& value, const Json::json_pointer& at,
             std::vector<Json::json_pointer>& out) {
  out.push_back(at);
  if (value.is_object()) {
    for (const auto& [key, child] : value.items()) Collect(child, at / key, out);
  } else if (value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i) Collect(value[i], at / i, out);
  }
}

std::string Replaced(std::string text, const std::string& what, const std::string& with) {
  const size_t at = text.find(what);
  return at == std::string::npos ? text : text.replace(at, what.size(), with);
}

}  // namespace

std::string MutateBytes(std::string bytes, size_t header, std::mt19937& random) {
  const size_t range = random() % 8 == 0 ? bytes.size() : std::min(header, bytes.size());
  const size_t at = Below(range, random);
  const size_t length = std::min(bytes.size() - at, 1 + Below(40, random));
  switch (random() % 7) {
    case 0:
      for (size_t flips = 1 + random() % 6; flips > 0; --flips) {
        bytes[Below(range, random)] ^= static_cast<char>(1 << random() % 8);
      }
      return bytes;
    case 1:
      return bytes.substr(0, at);
    case 2:
      return bytes.insert(at, bytes.substr(at, length));
    case 3:
      return bytes.erase(at, length);
    case 4:
      return bytes.replace(at, length, bytes.substr(Below(range, random), length));
    default: {
      const uint64_t number = kExtremes[Below(std::size(kExtremes), random)];
      const size_t size = std::min(bytes.size() - at, size_t{random() % 2 == 0 ? 4U : 8U});
      return bytes.replace(at, size, reinterpret_cast<const char*>(&number), size);
    }
  }
}

std::string MutateJson(const std::string& text, std::mt19937& random) {
  if (random() % 4 == 0) return MutateBytes(text, text.size(), random);
  Json document = Json::parse(text);
  std::vector<Json::json_pointer> places;
  Collect(document, Json::json_pointer(), places);
  const Json::json_pointer place = places[Below(places.size(), random)];
  const std::string mark = "\"here 1d0c\"";
  const Json old = document[place];
  if (!place.empty() && random() % 5 == 0) {
    Json& parent = document[place.parent_pointer()];
    if (parent.is_object()) {
      parent.erase(place.back());
      if (random() % 2 == 0) return document.dump();
      // The key twice: with its old value, and with another.
      const std::string key = Json(place.back()).dump() + ":";
      parent[place.back()] = "here 1d0c";
      return Replaced(document.dump(), mark, old.dump() + "," + key + HostileValue(random));
    }
  }
  document[place] = "here 1d0c";
  return Replaced(document.dump(), mark, HostileValue(random));
}

}  // namespace concertina::testing
