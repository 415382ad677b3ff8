#include "client/eval/progress.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace concertina::eval {
namespace {

constexpr size_t kBarWidth = 24;
constexpr double kTerminalInterval = 0.1, kPlainInterval = 5;
constexpr char kClearLine[] = "\r\x1b[K";

}  // namespace

std::string FormatSeconds(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(std::max(0.0, seconds)));
  return absl::StrFormat("%d:%02d:%02d", whole / 3600, whole / 60 % 60, whole % 60);
}

Progress::Progress(Options options) : options_(std::move(options)), begin_(options_.now()) {
  shown_ = begin_;
}

std::string Progress::Line(double now) const {
  const size_t all = options_.kept + done_;
  const size_t left = options_.total - all;
  std::string line = absl::StrFormat("%d of %d cells, %d %%", all, options_.total,
                                     options_.total == 0 ? 100 : 100 * all / options_.total);
  if (done_ > 0 && left > 0) {
    const double each = (now - begin_) / static_cast<double>(done_);
    absl::StrAppend(&line, ", ", FormatSeconds(each * static_cast<double>(left)), " left");
  }
  if (!setting_.empty() && left > 0) absl::StrAppend(&line, " (", setting_, ")");
  return line;
}

void Progress::Show(double now) {
  shown_ = now;
  std::string line = Line(now);
  if (line == line_) return;
  line_ = std::move(line);
  if (!options_.terminal) return options_.write(line_ + "\n");
  const size_t all = options_.kept + done_;
  const size_t full = options_.total == 0 ? kBarWidth : kBarWidth * all / options_.total;
  options_.write(absl::StrCat(kClearLine, "[", std::string(full, '#'),
                              std::string(kBarWidth - full, '.'), "] ", line_));
}

void Progress::Done(const std::string& setting) {
  const std::lock_guard lock(mutex_);
  ++done_;
  setting_ = setting;
  const double now = options_.now();
  if (now - shown_ >= (options_.terminal ? kTerminalInterval : kPlainInterval)) Show(now);
}

void Progress::Note(const std::string& line) {
  const std::lock_guard lock(mutex_);
  options_.write(absl::StrCat(options_.terminal ? kClearLine : "", options_.printable(line), "\n"));
}

void Progress::End() {
  const std::lock_guard lock(mutex_);
  Show(options_.now());
  if (options_.terminal) options_.write("\n");
}

}  // namespace concertina::eval
