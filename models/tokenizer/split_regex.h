// A compiled regular expression that cuts a text into pieces (PCRE2, UTF and Unicode properties,
// JIT).
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace concertina {

// Immutable and thread-safe.
class SplitRegex {
 public:
  // `\s` and `\S` mean Unicode White_Space, as in the reference's engine. INVALID_ARGUMENT with
  // PCRE2's message.
  static absl::StatusOr<SplitRegex> Compile(std::string_view pattern);

  // Cuts valid UTF-8 at each match ("isolated"): matches and what lies between them, in order, none
  // empty. If an expression exceeds PCRE2's match limits, the rest of the text stays one piece.
  void Split(std::string_view text, std::vector<std::string_view>* pieces) const;

 private:
  explicit SplitRegex(std::shared_ptr<const void> code) : code_(std::move(code)) {}
  std::shared_ptr<const void> code_;  // pcre2_code_8
};

}  // namespace concertina
