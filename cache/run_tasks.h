#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"

namespace concertina {

// Calls `task` once for every number in [0, tasks), on several threads if it likes, and returns
// when all are done. Tasks must not throw.
using RunTasks = absl::FunctionRef<void(int64_t tasks, absl::FunctionRef<void(int64_t)> task)>;

// On the calling thread, one after the other.
inline void RunInTurn(int64_t tasks, absl::FunctionRef<void(int64_t)> task) {
  for (int64_t i = 0; i < tasks; ++i) task(i);
}

}  // namespace concertina
