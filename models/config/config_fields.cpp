#include "models/config/config_fields.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/weights/tensor_source.h"
#include "nlohmann/json.hpp"

namespace concertina {

ConfigFields::ConfigFields(const nlohmann::json& object, std::string where)
    : object_(object), where_(std::move(where)) {
  if (!object_.is_object()) Record(absl::InvalidArgumentError(where_ + " is not a JSON object"));
}

const nlohmann::json* ConfigFields::Find(std::string_view name) const {
  if (!object_.is_object()) return nullptr;
  const auto it = object_.find(std::string(name));
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

int64_t ConfigFields::Int(std::string_view name, int64_t fallback, int64_t min, int64_t max) {
  const nlohmann::json* field = Find(name);
  if (field == nullptr) return fallback;
  // An unsigned value above int64 would wrap in get<int64_t>().
  const bool fits =
      field->is_number_integer() &&
      (!field->is_number_unsigned() || field->get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX));
  const int64_t value = fits ? field->get<int64_t>() : 0;
  if (!fits || value < min || value > max) {
    Fail(name, absl::StrCat("must be an integer from ", min, " to ", max));
    return fallback;
  }
  return value;
}

double ConfigFields::Number(std::string_view name, double fallback, double min, double max) {
  const nlohmann::json* field = Find(name);
  if (field == nullptr) return fallback;
  const double value = field->is_number() ? field->get<double>() : std::nan("");
  if (!(value >= min && value <= max)) {
    Fail(name, absl::StrCat("must be a number from ", min, " to ", max));
    return fallback;
  }
  return value;
}

bool ConfigFields::Bool(std::string_view name, bool fallback) {
  const nlohmann::json* field = Find(name);
  if (field == nullptr) return fallback;
  if (!field->is_boolean()) {
    Fail(name, "must be true or false");
    return fallback;
  }
  return field->get<bool>();
}

std::string ConfigFields::String(std::string_view name, std::string_view fallback) {
  const nlohmann::json* field = Find(name);
  if (field == nullptr) return std::string(fallback);
  if (!field->is_string()) {
    Fail(name, "must be a string");
    return std::string(fallback);
  }
  return field->get<std::string>();
}

std::string ConfigFields::OneOf(std::string_view name, std::string_view fallback,
                                std::initializer_list<std::string_view> known) {
  std::string value = String(name, fallback);
  if (std::find(known.begin(), known.end(), value) == known.end()) Refuse(name, QuotedName(value));
  return value;
}

const nlohmann::json* ConfigFields::Object(std::string_view name) {
  const nlohmann::json* field = Find(name);
  if (field != nullptr && !field->is_object()) {
    Fail(name, "must be an object");
    return nullptr;
  }
  return field;
}

void ConfigFields::Fail(std::string_view name, std::string_view fault) {
  Record(absl::InvalidArgumentError(
      absl::StrCat(where_, ": ", std::string(name), " ", std::string(fault))));
}

void ConfigFields::Refuse(std::string_view name, std::string_view what) {
  Record(absl::UnimplementedError(
      absl::StrCat(where_, ": ", std::string(name), " ", std::string(what), " is not supported")));
}

void ConfigFields::Record(absl::Status status) {
  if (status_.ok()) status_ = std::move(status);
}

}  // namespace concertina
