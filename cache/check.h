#pragma once

// CONCERTINA_CHECK(condition, "message"): a broken promise between our own components ends the
// process with a line that names it. Never used for anything a client can cause.

namespace concertina {

[[noreturn]] void CheckFailed(const char* file, int line, const char* condition,
                              const char* message);

}  // namespace concertina

#define CONCERTINA_CHECK(condition, message)                              \
  do {                                                                    \
    if (!(condition)) {                                                   \
      ::concertina::CheckFailed(__FILE__, __LINE__, #condition, message); \
    }                                                                     \
  } while (false)
