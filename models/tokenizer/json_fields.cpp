#include "models/tokenizer/json_fields.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace concertina {

JsonFields::JsonFields(const Json& value, std::string path, absl::Status* error)
    : object_(&value), path_(std::move(path)), error_(error) {
  static const Json kEmpty = Json::object();
  if (value.is_object()) return;
  object_ = &kEmpty;
  error_->Update(absl::InvalidArgumentError(absl::StrCat(path_, ": not an object")));
}

JsonFields JsonFields::Child(const Json& value, std::string_view name) const {
  return JsonFields(value, path_ + "." + std::string(name), error_);
}

void JsonFields::OnlyKeys(std::initializer_list<std::string_view> keys) const {
  for (const auto& item : object_->items()) {
    if (std::find(keys.begin(), keys.end(), item.key()) == keys.end()) {
      Unsupported(item.key(), "unknown setting");
    }
  }
}

const Json& JsonFields::At(std::string_view key) const {
  static const Json kNull;
  const auto found = object_->find(std::string(key));
  return found == object_->end() ? kNull : *found;
}

std::string JsonFields::String(std::string_view key) const {
  const Json& value = At(key);
  if (value.is_string()) return value.get<std::string>();
  Invalid(key, "not a string");
  return "";
}

bool JsonFields::Bool(std::string_view key, bool absent) const {
  const Json& value = At(key);
  if (value.is_null()) return absent;
  if (value.is_boolean()) return value.get<bool>();
  Invalid(key, "not a boolean");
  return absent;
}

int64_t JsonFields::Integer(std::string_view key) const {
  const Json& value = At(key);
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() || value.get<uint64_t>() <= uint64_t{INT64_MAX});
  if (fits) return value.get<int64_t>();
  Invalid(key, "not an integer");
  return 0;
}

const Json& JsonFields::Array(std::string_view key) const {
  static const Json kEmpty = Json::array();
  const Json& value = At(key);
  if (value.is_array()) return value;
  Invalid(key, "not an array");
  return kEmpty;
}

void JsonFields::Invalid(std::string_view key, std::string_view what) const {
  error_->Update(absl::InvalidArgumentError(
      absl::StrCat(path_, ".", std::string(key), ": ", std::string(what))));
}

void JsonFields::Unsupported(std::string_view key, std::string_view what) const {
  error_->Update(absl::UnimplementedError(
      absl::StrCat(path_, ".", std::string(key), ": ", std::string(what))));
}

}  // namespace concertina
