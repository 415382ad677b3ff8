// Checked access to the objects of tokenizer.json: what is not expected is an error, never ignored.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace concertina {

using Json = nlohmann::json;

// One object and its place in the file. The first error of all the objects that share `error` is
// kept there; after one, values are defaults and the caller returns the error when it has read
// everything.
class JsonFields {
 public:
  // `value` and `error` must outlive the object.
  JsonFields(const Json& value, std::string path, absl::Status* error);

  bool ok() const { return error_->ok(); }

  // Refuses keys that are not listed.
  void OnlyKeys(std::initializer_list<std::string_view> keys) const;

  const Json& At(std::string_view key) const;  // null when absent
  bool IsNull(std::string_view key) const { return At(key).is_null(); }
  std::string String(std::string_view key) const;
  bool Bool(std::string_view key, bool absent) const;
  int64_t Integer(std::string_view key) const;
  const Json& Array(std::string_view key) const;
  JsonFields Object(std::string_view key) const { return Child(At(key), key); }
  // An element of an array, or a value of this object.
  JsonFields Child(const Json& value, std::string_view name) const;

  void Invalid(std::string_view key, std::string_view what) const;      // INVALID_ARGUMENT
  void Unsupported(std::string_view key, std::string_view what) const;  // UNIMPLEMENTED

 private:
  const Json* object_;
  std::string path_;
  absl::Status* error_;
};

}  // namespace concertina
