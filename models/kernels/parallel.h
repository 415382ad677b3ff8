#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"

namespace concertina {

// Intra-operation threads: one pool for our kernels and for LibTorch's operators, because two pools
// spinning on the same cores slow each other down. Call from one thread at a time (the engine
// thread); nested calls run serially.

// Sets the number of threads, at least 1; always 1 in a build for the thread sanitizer.
void SetThreads(int threads);
int Threads();

// Calls `body(b, e)` on disjoint sub-ranges that cover [begin, end), none shorter than `grain`
// except the last, and returns when all are done. `body` must not throw.
void ParallelFor(int64_t begin, int64_t end, int64_t grain,
                 absl::FunctionRef<void(int64_t, int64_t)> body);

// Calls `body(worker, task)` once for every task in [0, tasks), in ascending order of start,
// handing the next task to whichever worker is free (tasks may be of very unequal cost). worker <
// Threads().
void ParallelTasks(int64_t tasks, absl::FunctionRef<void(int worker, int64_t task)> body);

}  // namespace concertina
