#include "models/weights/strict_json.h"

#include <exception>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/weights/tensor_source.h"

namespace concertina {
namespace {

using Json = nlohmann::json;

// Adapts nlohmann's SAX events to a JsonVisitor; its method names are the library's. nlohmann's
// parser keeps its own stack on the heap, so depth costs no call stack either.
class SaxAdapter {
 public:
  SaxAdapter(const JsonLimits& limits, JsonVisitor& visitor) : limits_(limits), visitor_(visitor) {}

  const absl::Status& status() const { return status_; }

  bool null() { return Scalar(std::monostate()); }
  bool boolean(bool value) { return Scalar(value); }
  bool number_integer(Json::number_integer_t value) { return Scalar(int64_t{value}); }
  bool number_unsigned(Json::number_unsigned_t value) { return Scalar(uint64_t{value}); }
  bool number_float(Json::number_float_t value, const Json::string_t&) { return Scalar(value); }
  bool string(Json::string_t& value) { return Scalar(std::move(value)); }
  bool binary(Json::binary_t&) { return Stop(absl::InternalError("JSON holds no binary values")); }

  bool start_object(std::size_t) {
    if (!Open() || !Continue(visitor_.OnObject(path_))) return false;
    path_.emplace_back();
    return true;
  }

  bool key(Json::string_t& name) {
    if (++keys_seen_ > limits_.max_keys) {
      return Stop(absl::InvalidArgumentError("the JSON text has too many keys"));
    }
    if (!open_.back().insert(name).second) {
      return Stop(
          absl::InvalidArgumentError(absl::StrCat("key ", QuotedName(name), " occurs twice")));
    }
    path_.back() = std::move(name);
    return true;
  }

  bool end_object() {
    path_.pop_back();
    open_.pop_back();
    return Continue(visitor_.OnObjectEnd(path_));
  }

  bool start_array(std::size_t) { return Open() && Continue(visitor_.OnArray(path_)); }

  bool end_array() {
    open_.pop_back();
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const Json::exception&) {
    return Stop(absl::InvalidArgumentError(absl::StrCat("faulty JSON near byte ", position)));
  }

 private:
  bool Stop(absl::Status status) {
    status_ = std::move(status);
    return false;
  }

  bool Continue(absl::Status status) { return status.ok() || Stop(std::move(status)); }

  bool Scalar(JsonVisitor::Scalar value) { return Continue(visitor_.OnScalar(path_, value)); }

  bool Open() {
    if (open_.size() >= static_cast<size_t>(limits_.max_depth)) {
      return Stop(absl::InvalidArgumentError("the JSON text is nested too deeply"));
    }
    open_.emplace_back();
    return true;
  }

  const JsonLimits limits_;
  JsonVisitor& visitor_;
  absl::Status status_;
  JsonVisitor::Path path_;
  std::vector<std::unordered_set<std::string>> open_;  // keys seen; stays empty for arrays
  size_t keys_seen_ = 0;
};

}  // namespace

absl::Status ParseStrictJson(std::string_view text, const JsonLimits& limits,
                             JsonVisitor& visitor) {
  // The library takes a zero byte for the end of the text and would ignore what follows.
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("faulty JSON near byte ", zero));
  }
  SaxAdapter adapter(limits, visitor);
  try {
    const bool done = Json::sax_parse(text.begin(), text.end(), &adapter);
    if (done || !adapter.status().ok()) return adapter.status();
  } catch (const std::exception&) {
    // The library reports faults through parse_error(); only running out of memory ends here.
  }
  return absl::InvalidArgumentError("faulty JSON");
}

}  // namespace concertina
