#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <string>

namespace concertina::eval {

// How far a run is. In a terminal one line that is drawn over itself, else a line now and then.
// Thread-safe.
class Progress {
 public:
  struct Options {
    size_t total = 0;
    size_t kept = 0;  // done by earlier runs
    bool terminal = false;
    std::function<double()> now;                         // seconds of a steady clock
    std::function<void(const std::string& text)> write;  // text as it is, no newline added
    // A server's words without what could move the cursor.
    std::function<std::string(const std::string& text)> printable;
  };

  explicit Progress(Options options);

  // A cell of `setting` is done; shows it if it is time.
  void Done(const std::string& setting);
  // Shows a line of its own above the bar, made printable.
  void Note(const std::string& line);
  // The last state, and the end of the line.
  void End();

 private:
  std::string Line(double now) const;  // under mutex_
  void Show(double now);               // under mutex_

  const Options options_;
  const double begin_;
  std::mutex mutex_;
  // All below guarded by mutex_.
  size_t done_ = 0;
  double shown_ = 0;  // when
  std::string line_;  // what
  std::string setting_;
};

// "0:12:33".
std::string FormatSeconds(double seconds);

}  // namespace concertina::eval
