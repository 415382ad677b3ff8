#include "tests/campaigns/documented_errors.h"

#include <sstream>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace concertina::testing {
namespace {

constexpr char kHeading[] = "\n## Errors\n";
constexpr char kNextHeading[] = "\n## ";

std::string Trimmed(absl::string_view text) {
  return std::string(absl::StripAsciiWhitespace(text));
}

std::vector<std::string> Split(const std::string& text, const char* separator) {
  std::vector<std::string> parts;
  for (const auto part : absl::StrSplit(text, separator)) parts.push_back(Trimmed(part));
  return parts;
}

// "`NOT_THIS`" to "NOT_THIS"; a dash, with or without a remark, to nothing.
std::string Reason(const std::string& cell) {
  const size_t begin = cell.find('`');
  if (begin == std::string::npos) return "";
  return cell.substr(begin + 1, cell.find('`', begin + 1) - begin - 1);
}

absl::Status AddRow(const std::string& line, std::vector<DocumentedError>* errors) {
  const std::vector<std::string> cells = Split(line, "|");
  if (cells.size() != 5) return absl::InvalidArgumentError("not three cells: " + line);
  const std::vector<std::string> reasons = Split(cells[3], ";");
  const std::vector<std::string> conditions = Split(cells[1], ";");
  if (reasons.size() == 1) {
    errors->push_back({cells[1], cells[2], Reason(reasons.front())});
    return absl::OkStatus();
  }
  if (conditions.size() != reasons.size()) {
    return absl::InvalidArgumentError("as many conditions as reasons: " + line);
  }
  for (size_t i = 0; i < reasons.size(); ++i) {
    errors->push_back({conditions[i], cells[2], Reason(reasons[i])});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<DocumentedError>> DocumentedErrors(const std::string& markdown) {
  const size_t begin = markdown.find(kHeading);
  if (begin == std::string::npos) return absl::InvalidArgumentError("no section \"Errors\"");
  const size_t end = markdown.find(kNextHeading, begin + 1);
  std::istringstream lines(markdown.substr(begin, end - begin));
  std::vector<DocumentedError> errors;
  int table_lines = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind('|', 0) != 0) continue;
    if (++table_lines <= 2) continue;  // heading and rule
    if (absl::Status status = AddRow(line, &errors); !status.ok()) return status;
  }
  if (errors.empty()) return absl::InvalidArgumentError("no table of errors");
  return errors;
}

}  // namespace concertina::testing
