#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"

namespace concertina {

// Receives a JSON document piece by piece. `path` holds the object keys on the way to the value
// (array elements share the path of their array). A status that is not OK stops parsing.
class JsonVisitor {
 public:
  // null, bool, unsigned and negative integers, other numbers, strings.
  using Scalar = std::variant<std::monostate, bool, uint64_t, int64_t, double, std::string>;
  using Path = std::vector<std::string>;

  virtual ~JsonVisitor() = default;
  virtual absl::Status OnScalar(const Path& path, const Scalar& value) = 0;
  virtual absl::Status OnObject(const Path& path) = 0;
  virtual absl::Status OnObjectEnd(const Path& path) = 0;
  virtual absl::Status OnArray(const Path& path) = 0;
};

struct JsonLimits {
  int max_depth;                      // of nested objects and arrays
  size_t max_keys = size_t{1} << 20;  // in all objects together
};

// Parses untrusted JSON (RFC 8259) without building a document, so that memory is bounded by one
// path and the keys of the open objects. Refuses, unlike most parsers, a key that occurs twice in
// an object. INVALID_ARGUMENT for faulty or too deep JSON; else the visitor's status. Never throws.
absl::Status ParseStrictJson(std::string_view text, const JsonLimits& limits, JsonVisitor& visitor);

}  // namespace concertina
