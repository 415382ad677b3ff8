#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "nlohmann/json_fwd.hpp"

namespace concertina {

// Typed, range-checked reading of the fields of one JSON object. The first fault sticks: read
// everything, then look at status(). A field that is absent or null has its default. Views
// `object`, which must outlive it. `where` names the object in messages.
class ConfigFields {
 public:
  ConfigFields(const nlohmann::json& object, std::string where);

  int64_t Int(std::string_view name, int64_t fallback, int64_t min, int64_t max);
  double Number(std::string_view name, double fallback, double min, double max);
  bool Bool(std::string_view name, bool fallback);
  std::string String(std::string_view name, std::string_view fallback);
  // The field must be absent or one of `known`: UNIMPLEMENTED otherwise.
  std::string OneOf(std::string_view name, std::string_view fallback,
                    std::initializer_list<std::string_view> known);
  // nullptr when absent or null; a fault when not an object.
  const nlohmann::json* Object(std::string_view name);
  // nullptr when absent or null.
  const nlohmann::json* Find(std::string_view name) const;
  bool Has(std::string_view name) const { return Find(name) != nullptr; }

  // Records a fault found by the caller, unless there is one already.
  void Fail(std::string_view name, std::string_view fault);
  void Refuse(std::string_view name, std::string_view what);  // UNIMPLEMENTED
  // Takes over the fault of a nested object, if it has one.
  void Adopt(const absl::Status& nested) { Record(nested); }

  const absl::Status& status() const { return status_; }

 private:
  void Record(absl::Status status);

  const nlohmann::json& object_;
  std::string where_;
  absl::Status status_;
};

}  // namespace concertina
