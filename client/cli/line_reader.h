#pragma once

#include <memory>
#include <string>

#include "client/cli/interrupts.h"

namespace concertina::cli {

enum class LineStatus { kLine, kEnd, kInterrupted };

// Reads lines of UTF-8 from standard input: with editing and history in a terminal, as they come
// otherwise. A signal ends the wait (kInterrupted).
class LineReader {
 public:
  virtual ~LineReader() = default;
  // The next line without its newline. Of a line longer than 1 MiB the rest is read as another
  // line.
  virtual LineStatus Read(std::string* line) = 0;
  // Whether a person is typing.
  virtual bool interactive() const = 0;
};

// For standard input as it is. `interrupts` outlives it.
std::unique_ptr<LineReader> MakeLineReader(Interrupts& interrupts);

}  // namespace concertina::cli
