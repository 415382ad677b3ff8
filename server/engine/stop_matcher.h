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

  // Adds text; returns what may be delivered now. After a match returns the text before it and
  // stopped() is true for good.
  std::string Push(std::string_view text);
  // The held text, when the answer ends without a match.
  std::string Flush();
  bool stopped() const { return stopped_; }

 private:
  size_t LongestPartialMatch() const;

  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace concertina
