#include "server/app/config_file.h"

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace concertina {
namespace {

absl::Status Fault(const std::string& path, int line, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ":", line, ": ", what));
}

std::optional<std::string> TextOf(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return absl::StrCat(number->get());
  if (const auto* number = node.as_floating_point()) return absl::StrCat(number->get());
  return std::nullopt;
}

}  // namespace

absl::StatusOr<std::vector<FileValue>> ReadConfigFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream contents;
  contents << file.rdbuf();  // nothing to read is no fault
  std::error_code ignored;
  if (!file.is_open() || contents.bad() || std::filesystem::is_directory(path, ignored)) {
    return absl::NotFoundError("cannot read the configuration file " + path);
  }
  const toml::parse_result parsed = toml::parse(contents.str(), path);
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    return Fault(path, static_cast<int>(error.source().begin.line),
                 std::string(error.description()));
  }
  std::vector<FileValue> values;
  for (const auto& [key, node] : parsed.table()) {
    const int line = static_cast<int>(key.source().begin.line);
    auto text = TextOf(node);
    if (!text.has_value()) {
      return Fault(path, line, absl::StrCat(std::string(key.str()), ": not a string or a number"));
    }
    values.push_back({std::string(key.str()), *std::move(text), line});
  }
  std::sort(values.begin(), values.end(),
            [](const FileValue& a, const FileValue& b) { return a.line < b.line; });
  return values;
}

std::string TomlString(const std::string& text) {
  std::ostringstream out;
  const toml::value<std::string> value(text);
  out << toml::toml_formatter(value, toml::format_flags::none);  // with double quotes
  return out.str();
}

}  // namespace concertina
