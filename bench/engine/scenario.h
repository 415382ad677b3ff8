#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace concertina::bench {

// One thing to measure, with its parameters: "decode:depth=900,sessions=8,policy=concertina".
class Scenario {
 public:
  // INVALID_ARGUMENT unless `text` is a name, or a name, ':' and distinct KEY=VALUE pairs.
  static absl::StatusOr<Scenario> Parse(std::string_view text);

  const std::string& name() const { return name_; }
  const std::map<std::string, std::string>& values() const { return values_; }

  // The value of a key, or what is used without it.
  std::string Text(const std::string& key, const std::string& otherwise) const;
  // The same as a number; what is not one counts as absent.
  int Int(const std::string& key, int otherwise) const;
  double Real(const std::string& key, double otherwise) const;

 private:
  std::string name_;
  std::map<std::string, std::string> values_;
};

}  // namespace concertina::bench
