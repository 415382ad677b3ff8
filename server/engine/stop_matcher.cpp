#include "server/engine/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace concertina {

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  // More than the text of a token: what is held seldom has to grow.
  constexpr size_t kText = 256;
  size_t longest = 0;
  for (const std::string& stop : stops_) longest = std::max(longest, stop.size());
  if (longest > 0) held_.reserve(longest + kText);
}

void StopMatcher::Push(std::string_view text, std::string* out) {
  if (stopped_) return;
  if (stops_.empty()) {
    out->append(text);
    return;
  }
  held_ += text;
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) first = std::min(first, held_.find(stop));
  if (first != std::string::npos) {
    stopped_ = true;
    out->append(held_, 0, first);
    held_.clear();
    return;
  }
  const size_t ready = held_.size() - LongestPartialMatch();
  out->append(held_, 0, ready);
  held_.erase(0, ready);
}

void StopMatcher::Flush(std::string* out) {
  out->append(held_);
  held_.clear();
}

size_t StopMatcher::LongestPartialMatch() const {
  size_t longest = 0;
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > longest; --n) {
      if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, n))) {
        longest = n;
        break;
      }
    }
  }
  return longest;
}

}  // namespace concertina
