// The normalizers of tokenizer.json that change text before it is cut.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace concertina {

struct NormalizerStep {
  enum class Kind {
    kPrepend,  // puts `content` before a text that is not empty
    kReplace,  // replaces each `pattern` (a plain string, not empty) by `content`
    kNfc,      // Unicode normalization form C
  };
  Kind kind;
  std::string pattern;
  std::string content;
};

// Immutable and thread-safe.
class Normalizer {
 public:
  Normalizer() = default;
  explicit Normalizer(std::vector<NormalizerStep> steps) : steps_(std::move(steps)) {}

  // `text` is valid UTF-8. Without `prepend` the kPrepend steps are left out: the text follows
  // other text.
  std::string Apply(std::string_view text, bool prepend) const;

 private:
  std::vector<NormalizerStep> steps_;
};

// Form C in O(n log n), also for a megabyte of combining marks.
std::string ToNfc(std::string_view text);

}  // namespace concertina
