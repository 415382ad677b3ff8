#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace concertina {

// One line of a configuration file: `key = value`.
struct FileValue {
  std::string key;
  std::string text;  // strings without their quotes, numbers as written in decimal
  int line = 0;
};

// Reads a TOML file of strings and numbers without tables, in the order of its lines.
// INVALID_ARGUMENT, with file and line: not TOML (a key given twice is not TOML either), a table, a
// list or another kind of value. NOT_FOUND: cannot be read.
absl::StatusOr<std::vector<FileValue>> ReadConfigFile(const std::string& path);

// A TOML string with its quotes.
std::string TomlString(const std::string& text);

}  // namespace concertina
