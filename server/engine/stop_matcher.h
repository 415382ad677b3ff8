#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace concertina {

// Watches streamed text for stop strings. Text that may be the beginning of one is held back until
// it is decided. Owned by one turn.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops);

  // Adds text; appends to `out` what may be delivered now. After a match appends the text before it
  // and stopped() is true for good.
  void Push(std::string_view text, std::string* out);
  // Appends the held text, when the answer ends without a match.
  void Flush(std::string* out);
  bool stopped() const { return stopped_; }

 private:
  size_t LongestPartialMatch() const;

  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace concertina
