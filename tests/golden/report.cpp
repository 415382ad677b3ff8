#include "tests/golden/report.h"

#include <cmath>

#include "absl/strings/str_format.h"

namespace concertina::testing {

void Report::BeginCase(const std::string& name) {
  ++cases_;
  case_ = name;
  out_ << "case " << name << "\n";
}

void Report::Line(const std::string& quantity, const std::string& error,
                  const std::string& tolerance, const char* verdict, const std::string& detail) {
  out_ << absl::StrFormat("  %-32s error %-10s tolerance %-10s %s", quantity, error, tolerance,
                          verdict);
  if (!detail.empty()) out_ << "  (" << detail << ")";
  out_ << std::endl;  // progress of a long run is seen at once
}

void Report::Error(const std::string& quantity, double error, double tolerance) {
  const bool pass = error <= tolerance;
  ++checked_;
  failed_ += pass ? 0 : 1;
  Line(quantity, absl::StrFormat("%.3g", error), absl::StrFormat("%.3g", tolerance),
       pass ? "pass" : "FAIL", {});
}

void Report::Exact(const std::string& quantity, int64_t differing, const std::string& detail) {
  const bool pass = differing == 0;
  ++checked_;
  failed_ += pass ? 0 : 1;
  Line(quantity, absl::StrFormat("%d", differing), "exact", pass ? "pass" : "FAIL", detail);
}

void Report::Failed(const std::string& quantity, const std::string& why) {
  ++checked_;
  ++failed_;
  Line(quantity, "-", "-", "FAIL", why);
}

void Report::NotChecked(const std::string& quantity, const std::string& why) {
  ++not_checked_;
  Line(quantity, "-", "-", "not checked", why);
}

bool Report::Finish(const std::string& folder) {
  const bool pass = checked_ > 0 && failed_ == 0;
  out_ << absl::StrFormat("%s: %d cases, %d quantities, %d failed, %d not checked: %s\n", folder,
                          cases_, checked_, failed_, not_checked_,
                          checked_ == 0 ? "FAIL (nothing was checked)" : (pass ? "pass" : "FAIL"));
  return pass;
}

}  // namespace concertina::testing
