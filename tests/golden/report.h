#pragma once

#include <cstdint>
#include <ostream>
#include <string>

namespace concertina::testing {

// Prints one line per compared quantity and counts them.
class Report {
 public:
  explicit Report(std::ostream& out) : out_(out) {}

  // The lines that follow belong to this case.
  void BeginCase(const std::string& name);

  // Passes when error <= tolerance; an error that is not a number fails.
  void Error(const std::string& quantity, double error, double tolerance);
  // Passes when no element differs. `detail` says where they do.
  void Exact(const std::string& quantity, int64_t differing, const std::string& detail = {});
  // A quantity that could not be computed or has no reference where one is due.
  void Failed(const std::string& quantity, const std::string& why);
  // A reference that is none of this program's business. Does not fail.
  void NotChecked(const std::string& quantity, const std::string& why);

  int64_t checked() const { return checked_; }
  int64_t failed() const { return failed_; }

  // The summary line. Returns whether something was checked and nothing failed.
  bool Finish(const std::string& folder);

 private:
  void Line(const std::string& quantity, const std::string& error, const std::string& tolerance,
            const char* verdict, const std::string& detail);

  std::ostream& out_;
  std::string case_;
  int64_t cases_ = 0, checked_ = 0, failed_ = 0, not_checked_ = 0;
};

}  // namespace concertina::testing
